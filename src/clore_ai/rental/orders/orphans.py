"""Compares the service's list of orders with the ledger, and finds the owner of an order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clore_ai._api.steps import clock, local
from clore_ai.exceptions import (
    AuthError,
    InvalidInputError,
    NotFoundError,
    ResponseError,
    TransportError,
)
from clore_ai.models import Order, Orders
from clore_ai.rental.orders import cancel
from clore_ai.rental.orders.cancel import Cancelling
from clore_ai.rental.orders.claim import match
from clore_ai.rental.orders.reconcile import adopt, orders
from clore_ai.rental.orders.recover import acknowledge

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clore_ai._api.steps import Flow
    from clore_ai._state.ledger import Elsewhere, Ledger
    from clore_ai.models.records import Intent
    from clore_ai.rental.session import Session


@dataclass(frozen=True)
class Orphans:
    """The differences between the service's orders and the ledger."""

    unknown: list[Order]
    """Orders that run and are billed, but are not in the ledger: rented elsewhere."""
    missing: list[Intent]
    """Orders that run by the ledger, but that the service does not list, not even as ended."""
    elsewhere: list[Elsewhere]
    """Entries of other keys, of any marketplace."""


def orphans(session: Session) -> Flow[Orphans]:
    """All differences, by one look at the orders. An order that is just being rented is none.

    Raises:
        CloreAPIError, ConfigError: the orders, or the ledger, can't be read.
    """
    ran = yield from local(session.ledger.running)
    rows = yield from orders(session, include_completed=True)
    listed = {order.id for order in rows}
    return Orphans(
        (yield from local(unknown, session.ledger, rows)),
        [intent for intent in ran if intent.order_id not in listed],
        (yield from local(session.ledger.elsewhere)),
    )


def running(session: Session) -> Flow[tuple[list[int], list[int]]]:
    """The ids of the orders that run: those of this ledger, and those that it does not know.

    Raises:
        CloreAPIError, ConfigError: the orders, or the ledger, can't be read.
    """
    rows = [order for order in (yield from orders(session)) if order.active]
    others = [order.id for order in (yield from local(unknown, session.ledger, rows))]
    return [order.id for order in rows if order.id not in others], others


def cancel_all(
    session: Session, issue: str | None, timeout_s: float, *, others: bool
) -> Flow[list[Cancelling]]:
    """Cancel the orders of `running`: those of this ledger; with `others` all that run.

    Raises:
        CloreAPIError, ConfigError: as in `running`; nothing was cancelled.
        InvalidInputError: `issue` is too long; nothing was cancelled.
    """
    mine, unknown = yield from running(session)
    todo = [Cancelling(order_id) for order_id in (mine + unknown if others else mine)]
    yield from cancel.end(session, todo, issue, timeout_s)
    return todo


def unknown(ledger: Ledger, rows: Iterable[Order]) -> list[Order]:
    """The running orders among `rows` that are not in this ledger.

    Raises:
        ConfigError: the ledger can't be read; then it is not known whose they are.
    """
    begun = {i.order_id: i.started_at for i in ledger.intents() if i.order_id is not None}
    claimed, unsettled = set(begun), ledger.unsettled()
    return [
        order
        for order in rows
        if order.active
        # A marketplace that was reset reuses its ids.
        and (order.id not in begun or order.ct not in (None, begun[order.id] or order.ct))
        and not any(match(intent, [order], claimed) for intent in unsettled)
    ]


def take_in(
    session: Session, order_id: int | None, *, lease_s: float | None = None
) -> Flow[list[Intent]]:
    """Add an order, or all running ones, to the ledger; acknowledge those it already has.

    Raises:
        NotFoundError: no such order runs.
        CloreAPIError, ConfigError: as in `orphans`.
    """
    rows = [o for o in (yield from orders(session, include_completed=True)) if o.active]
    now = (yield from clock()).wall
    if order_id is not None:
        rows = [order for order in rows if order.id == order_id]
        if not rows:
            raise NotFoundError(f"You have no order {order_id} that runs. See: clore orders")
    return (yield from local(_take_in, session, rows, now, lease_s))


def _take_in(
    session: Session, rows: list[Order], now: float, lease_s: float | None
) -> list[Intent]:
    taken: list[Intent] = []
    claimed = session.ledger.claimed()
    for order in rows:
        if order.id not in claimed:
            taken.append(adopt(session, order, now, lease_s=lease_s))
        acknowledge(session, order.id)
    return taken


def record(ledger: Ledger, number: int) -> tuple[Intent, Elsewhere | None]:
    """An open record of the ledger, by its number, with the other key it belongs to, if any.

    Raises:
        NotFoundError: there is no open record of this number.
    """
    for intent in (*ledger.running(), *ledger.unsettled()):
        if intent.id == number:
            return intent, None
    for each in ledger.elsewhere():
        for intent in (*each.running, *each.unsettled):
            if intent.id == number:
                return intent, each
    raise NotFoundError(f"The ledger has no open record {number}. See: clore orphans")


def close(session: Session, number: int) -> Flow[Intent]:
    """Close a record that nothing will settle any more, as of a marketplace or key that is gone.

    A record of the key in use is checked first: an order that the service lists is not closed.
    Nothing is cancelled; if the order is listed again, it is unknown to the ledger.

    Raises:
        NotFoundError: there is no such open record, or the check has settled it.
        InvalidInputError: its order runs, and is billed.
    """
    intent, elsewhere = yield from local(record, session.ledger, number)
    if elsewhere is None:
        try:
            rows = yield from orders(session, include_completed=True)
        except (AuthError, ResponseError, TransportError):
            rows = Orders()  # the service, or the key, is gone
        intent, _ = yield from local(record, session.ledger, number)
        if any(order.active and order.id == intent.order_id for order in rows):
            raise InvalidInputError(
                f"Order {intent.order_id} runs and is billed, so its record stays. Stop paying: "
                f"clore cancel {intent.order_id}",
                2,
            )
    now = (yield from clock()).wall
    closed = yield from local(session.ledger.give_up, number, now)
    if closed is None:
        raise NotFoundError(f"The ledger has no open record {number}. See: clore orphans")
    return closed
