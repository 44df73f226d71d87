"""The limits of running orders: which orders are past them, what ends those, how to extend them."""
