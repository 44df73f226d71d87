"""Python SDK for the Clore.ai GPU marketplace."""
