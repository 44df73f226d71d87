"""The limits of running orders: which are over, who ends them, and how they are extended."""
