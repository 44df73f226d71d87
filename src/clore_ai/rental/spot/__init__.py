"""Spot orders: bids, the autopilot, the change between spot and on demand."""
