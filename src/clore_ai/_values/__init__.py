"""Small building blocks for everything else: kinds of JSON, text, sizes, secrets. Pure."""
