"""When running orders end: `clore lease`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clore_ai._api.steps import Flow, clock, local
from clore_ai.rental.limits import extend
from clore_ai.rental.orders import reconcile
from clore_ai.rental.spend.lease import above_0

if TYPE_CHECKING:
    from clore_ai.models.records import Intent
    from clore_ai.rental.session import Session


@dataclass(frozen=True)
class Lease:
    """When an order ends; None for values that are not limited, or not known."""

    order_id: int
    ends_at: float | None = None
    """Unix seconds."""
    left_s: float | None = None
    """Seconds left; below 0 after the end."""
    max_cost_usd: float | None = None
    server_id: int | None = None

    def row(self) -> dict[str, Any]:
        """The lease for ``--json``."""
        names = ("order_id", "ends_at", "left_s", "max_cost_usd")
        return {name: getattr(self, name) for name in names}


def leases(session: Session) -> Flow[list[Lease]]:
    """The lease of each running order.

    Raises:
        CloreAPIError, ConfigError: the orders, or the ledger, can't be read.
    """
    rows = yield from reconcile.orders(session, include_completed=True)
    now = (yield from clock()).wall
    kept = {i.order_id: i for i in (yield from local(session.ledger.running))}
    return [_lease(o.id, o.server_id, kept.get(o.id), now) for o in rows if o.active]


def change(session: Session, order_id: int, hours: float | None, *, more: bool) -> Flow[Lease]:
    """Change when an order ends; arguments and errors are those of `extend.change`, in hours."""
    above_0(hours=hours)
    lease_s = None if hours is None else hours * 3600
    intent = yield from extend.change(session, order_id, lease_s, more=more)
    now = (yield from clock()).wall
    return _lease(order_id, intent.server_id, intent, now)


def _lease(order_id: int, server_id: int | None, intent: Intent | None, now: float) -> Lease:
    if intent is None:
        return Lease(order_id, server_id=server_id)
    left_s = None if intent.ends_at is None else intent.ends_at - now
    return Lease(order_id, intent.ends_at, left_s, intent.max_cost_usd, server_id)
