"""Where the service's list of orders and the ledger differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clore_ai._flow import clock
from clore_ai.exceptions import NotFoundError
from clore_ai.rental.look import adopt, match, orders
from clore_ai.rental.recover import told

if TYPE_CHECKING:
    from clore_ai._flow import Flow
    from clore_ai.ledger import Intent
    from clore_ai.models import Order
    from clore_ai.rental.session import Session


@dataclass(frozen=True)
class Orphans:
    """What runs, and what does not, against the ledger."""

    unknown: list[Order]
    """They run and are billed, and the ledger does not know them: rented elsewhere."""
    missing: list[Intent]
    """The ledger had them running, and the service does not list them, not even as ended."""


def orphans(session: Session) -> Flow[Orphans]:
    """Both, by one look at the orders. An order that a command is just renting is none.

    Raises:
        CloreAPIError, ConfigError: the orders, or the ledger, can't be read.
    """
    ledger = session.ledger
    ran = ledger.running()
    rows = yield from orders(session, include_completed=True)
    claimed, unsettled = ledger.claimed(), ledger.unsettled()
    unknown = [
        order
        for order in rows
        if order.active
        and order.id not in claimed
        and not any(match(intent, [order], claimed) for intent in unsettled)
    ]
    listed = {order.id for order in rows}
    return Orphans(unknown, [intent for intent in ran if intent.order_id not in listed])


def take_in(
    session: Session, order_id: int | None, *, lease_s: float | None = None
) -> Flow[list[Intent]]:
    """Take an order, or all that run, into the ledger; what it held already is known from now on.

    Raises:
        NotFoundError: no such order runs.
        CloreAPIError, ConfigError: as in `orphans`.
    """
    ledger = session.ledger
    rows = [o for o in (yield from orders(session, include_completed=True)) if o.active]
    now = (yield from clock()).wall
    if order_id is not None:
        rows = [order for order in rows if order.id == order_id]
        if not rows:
            raise NotFoundError(f"You have no order {order_id} that runs. See: clore orders")
    taken: list[Intent] = []
    claimed = ledger.claimed()
    for order in rows:
        if order.id not in claimed:
            taken.append(adopt(session, order, now, lease_s=lease_s))
        told(session, order.id)
    return taken
