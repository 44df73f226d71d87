"""The client for asyncio: the one that is written by hand.

All that its calls need is imported with it: an import within a call would pause the event loop.
"""

from clore_ai.jobs import life, status, unasked
from clore_ai.jobs.reap import reap

__all__ = ["life", "reap", "status", "unasked"]
