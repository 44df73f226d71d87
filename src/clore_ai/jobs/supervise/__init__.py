"""Watches one job on its machine: reconnect, read its output, fetch, keep its limits and bid."""
