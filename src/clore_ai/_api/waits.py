"""How long the client waits for others, in one place: a test's clock may run faster. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Waits:
    """Seconds; as shipped, for the live service and its machines."""

    backoff_s: float = 1.0
    """Before a call is first sent again; each later wait is twice as long (004, Rate Limiter)."""
    look_for_s: float = 30.0
    """How long a new order may take to show up in `my_orders`."""
    nothing_came_after_s: float = 120.0
    """A new order is listed within 20 s of the request, or does not exist (service.md, 3)."""
    silent_s: float = 30.0
    """How long a job's follower may say nothing; it says that it is there every 5 s or so."""
    report_after_s: float = 30.0
    """How long a machine may be silent before the user is informed."""


WAITS = Waits()
