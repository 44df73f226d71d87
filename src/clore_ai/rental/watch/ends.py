"""Ends watched orders: those that have idled too long, and those that reached a limit.

An idle order is cancelled only after a view has announced it. Each cancel waits up to 60 s for the
order to be gone; one that fails is tried again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable

from clore_ai._api.steps import Flow, local
from clore_ai.rental.limits.enforce import Keeper, near
from clore_ai.rental.orders import cancel, ending
from clore_ai.rental.watch.orders import Monitor, OrderEvent

if TYPE_CHECKING:
    from clore_ai.rental.limits.expiry import Limit
    from clore_ai.rental.session import Session

_GONE_WITHIN_S = 60.0


@dataclass
class Ends:
    """What has been ended, or is about to be."""

    at_limit: Callable[[Limit], bool] | None = None
    """Is an order at its limit to be ended here and now? None: no limits are enforced."""
    keeper: Keeper | None = None
    todo: list[cancel.Cancelling] = field(default_factory=list[cancel.Cancelling])
    """The orders that are being cancelled."""
    idled: set[int] = field(default_factory=set[int])
    """Orders that had idled too long and are gone."""


def end(
    session: Session, ends: Ends, monitor: Monitor, on_message: Callable[[str], object]
) -> Flow[list[OrderEvent]]:
    """Cancel what idled too long or has reached a limit; what became of it.

    A lease that ends soon is an event of the monitor itself.
    """
    events: list[OrderEvent] = []
    idle = [order_id for order_id in monitor.over if order_id not in ends.idled]
    for each in (yield from _cancel(session, ends, idle, ending.CANCELLED)):
        if each.gone:
            ends.idled.add(each.order_id)
        events.append(_event(each))
    if ends.at_limit is None:
        return events
    if ends.keeper is None:
        ends.keeper = _keeper(monitor.ids)
    soon, over = yield from ends.keeper.check(session)
    events += [
        OrderEvent("near", limit.intent.order_id, near(limit), limit=limit)
        for limit in soon
        if limit.reason == "max_cost"
    ]
    for limit in over:
        if (yield from local(ends.at_limit, limit)):
            on_message(f"{limit}: ending it.")
            ids, why = [limit.intent.order_id or 0], ending.of_limit(limit.reason)
            done = yield from _cancel(session, ends, ids, why)
            events += [_event(each, limit) for each in done]
    return events


def _keeper(ids: frozenset[int] | None) -> Keeper:
    return Keeper(
        asks=False,
        mine=lambda i: i.enforced != "reap" and (ids is None or i.order_id in ids),
    )


def _cancel(
    session: Session, ends: Ends, order_ids: list[int], why: str
) -> Flow[list[cancel.Cancelling]]:
    todo = [cancel.Cancelling(order_id, why=why) for order_id in order_ids]
    if todo:
        ends.todo = todo
        yield from cancel.end(session, todo, timeout_s=_GONE_WITHIN_S)
        ends.todo = []
    return todo


def _event(each: cancel.Cancelling, limit: Limit | None = None) -> OrderEvent:
    if each.gone:
        said = f"Order {each.order_id} was cancelled."
        return OrderEvent("cancelled", each.order_id, said, each.why, limit, each)
    said = f"Order {each.order_id} was not cancelled and may still be billed: {each.error}"
    return OrderEvent("failed", each.order_id, said, None, limit, each)
