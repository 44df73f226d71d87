"""Small values that everything else is made of: kinds of JSON, text, sizes, secrets. Pure."""
