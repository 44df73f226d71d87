"""The waits that tests shorten, in one place; others stand where they are used. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Waits:
    """Waits in seconds; the defaults are for the live service and its machines."""

    backoff_s: float = 1.0
    """The wait before the first retry of a call; each later wait is twice as long (004, Rate
    Limiter)."""
    look_for_s: float = 30.0
    """How long a new order may take to appear in `my_orders`."""
    nothing_came_after_s: float = 120.0
    """A new order is listed within 20 s of the request, or does not exist (service.md, 3)."""
    silent_s: float = 30.0
    """How long a job's follower may be silent; it reports about every 5 s."""
    report_after_s: float = 30.0
    """How long a machine may be silent before this is reported."""


WAITS = Waits()
