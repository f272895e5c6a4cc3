"""Is this data fit to teach from? Facts measured once per photograph, and kinds of findings over them."""
