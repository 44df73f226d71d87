"""Files to a machine and from it, over an open connection."""
