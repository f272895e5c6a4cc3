"""Which photographs there are, what is known of them, and which may be used for what."""
