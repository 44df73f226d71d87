"""Watches the market for offers, and orders for what happens to them."""
