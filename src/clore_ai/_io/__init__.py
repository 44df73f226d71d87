"""Performs the steps of flows: HTTP, time, and the programs that `_ssh` runs."""
