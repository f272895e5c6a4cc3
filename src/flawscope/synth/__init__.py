"""What is drawn: textures, parts, defects and the demo's chips, all from a seed."""
