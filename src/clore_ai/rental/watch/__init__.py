"""Watch the market for an offer, and orders for what becomes of them."""
