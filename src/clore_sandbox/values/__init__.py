"""Small tools for values: money, JSON types, JSON Schema. Pure."""
