"""The client for asyncio: the one that is written by hand.

All that its calls need is imported with it: an import within a call would pause the event loop.
"""

from clore_ai import _gpu_feeds
from clore_ai._async import rental
from clore_ai.jobs import life, status, unasked
from clore_ai.jobs.reap import reap, turns
from clore_ai.rental.orders import cancel, create, host_settings, orphans
from clore_ai.rental.rent import deploy
from clore_ai.rental.reports import budgets, costs, hosts, leases
from clore_ai.rental.spot import autopilot, set_price
from clore_ai.rental.watch import taking, view

__all__ = [
    "_gpu_feeds",
    "autopilot",
    "budgets",
    "cancel",
    "costs",
    "create",
    "deploy",
    "host_settings",
    "hosts",
    "leases",
    "life",
    "orphans",
    "reap",
    "rental",
    "set_price",
    "status",
    "taking",
    "turns",
    "unasked",
    "view",
]
