"""Ends orders at their limits, and takes over jobs that no process watches."""
