"""Spot orders: bids, the autopilot, and switching from spot to on demand."""
