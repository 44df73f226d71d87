"""The servers to rent: a captured body or a sample fleet, and exchange rates."""
