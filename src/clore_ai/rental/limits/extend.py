"""Change when a running order ends."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

from clore_ai._api.steps import Flow, clock, local
from clore_ai.exceptions import InvalidInputError, NotFoundError, OrderEnded
from clore_ai.rental.orders.reconcile import adopt, orders
from clore_ai.rental.spend import afford

if TYPE_CHECKING:
    from clore_ai.models import Order
    from clore_ai.models.records import Intent
    from clore_ai.rental.session import Session


def change(session: Session, order_id: int, lease_s: float | None, *, more: bool) -> Flow[Intent]:
    """Let an order end in `lease_s` from now (None: never), or, with `more`, that much later.

    It never ends later than the service allows. If the lease is over, it is extended from now on.
    An order that was rented elsewhere is added to the ledger.

    Raises:
        NotFoundError, OrderEnded: there is no such order, or it has ended.
        InvalidInputError: there is no lease to extend.
        BudgetError: the longer lease would exceed a budget.
    """
    rows = yield from orders(session, include_completed=True)
    order = next((o for o in rows if o.id == order_id), None)
    if order is None:
        active = ", ".join(str(o.id) for o in rows if o.active) or "none"
        raise NotFoundError(f"You have no order {order_id} (active: {active}). See: clore orders")
    if not order.active:
        raise OrderEnded(f"Order {order_id} has ended; it no longer has a lease.", order)
    now = (yield from clock()).wall
    return (yield from local(_change, session, order, lease_s, more, now))


def _change(
    session: Session, order: Order, lease_s: float | None, more: bool, now: float
) -> Intent:
    intent = session.ledger.by_order(order.id) or adopt(session, order, now)
    if more and intent.ends_at is None:
        raise InvalidInputError(
            f"Order {order.id} has no lease to extend; give it one with: clore lease set "
            f"{order.id} 6h"
        )
    begun = intent.started_at or now
    ends_at = inf if lease_s is None else now + lease_s
    if more and lease_s is not None:
        ends_at = max(intent.ends_at or now, now) + lease_s
    if lease_s is not None and intent.mrl_s is not None:
        ends_at = min(ends_at, begun + intent.mrl_s)
    end = None if ends_at == inf else ends_at
    new = replace(intent, ends_at=end, lease_s=None if end is None else max(0.0, end - begun))
    if ends_at > (intent.ends_at or inf):
        afford.check(session, new, now, was=intent)
    # A default that no user saw becomes an end that the user gave.
    enforced = "always" if intent.enforced == "reap" else intent.enforced
    session.ledger.update(intent, ends_at=new.ends_at, lease_s=new.lease_s, enforced=enforced)
    return intent
