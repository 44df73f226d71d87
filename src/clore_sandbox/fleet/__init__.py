"""Servers to rent: a sample fleet, a captured body, exchange rates."""
