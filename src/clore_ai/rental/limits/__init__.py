"""The limits of running orders: which orders are over, what ends them, how to extend them."""
