"""Performs the steps of flows: HTTP, time, other programs."""
