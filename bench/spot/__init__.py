"""Simulated bidding for a spot order."""
