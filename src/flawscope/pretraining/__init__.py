"""The backbone of our own: trained on nothing but what `synth` draws."""
