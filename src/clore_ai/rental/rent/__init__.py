"""Rent the best server that fits: find offers, try them in turn, verify the machine."""
