"""Money, coins and kinds of values. Pure."""
