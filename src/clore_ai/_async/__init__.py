"""The client for asyncio: the one that is written by hand."""
