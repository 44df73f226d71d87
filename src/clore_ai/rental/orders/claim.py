"""Finds the order that a request created among the listed ones, and claims it for that request.

The rule: an order on the intent's server that was not there before, made no earlier than the
request was sent and not long after it was answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clore_ai._api import endpoints
from clore_ai._api.steps import Flow, Sleep, clock, local, request
from clore_ai.exceptions import CloreAPIError, ConfigError
from clore_ai.models import Order, Orders
from clore_ai.rental.orders import ending

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clore_ai.models.records import Intent
    from clore_ai.rental.session import Session

CLOCK_SKEW_S = 300.0
"""How far the service's clock (`ct`) and ours may differ."""
_SEEN_EVERY_S = 60.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 2.0


def match(intent: Intent, rows: Iterable[Order], claimed: set[int]) -> Order | None:
    """The order that an intent created, among `rows`; None if there is none yet."""
    for order in sorted(rows, key=lambda o: o.id):
        if intent.order_id is not None:
            if order.id == intent.order_id and order.server_id in (None, intent.server_id):
                return order
        elif (
            order.server_id == intent.server_id
            and order.id not in intent.known_ids
            and order.id not in claimed
            and in_time(order, intent)
        ):
            return order
    return None


def in_time(order: Order, intent: Intent) -> bool:
    """Was it made between the request and soon after the answer? Ids ascend; clocks can differ."""
    if order.ct is None:
        return True
    posted_at = intent.posted_at or 0.0
    if order.ct > (intent.answered_at or posted_at + CLOCK_SKEW_S) + CLOCK_SKEW_S:
        return False
    newer = intent.newest_id is not None and order.id > intent.newest_id
    return newer or order.ct >= posted_at - CLOCK_SKEW_S


def facts(
    intent: Intent, order: Order, now: float, seen: ending.Evidence | None = None
) -> dict[str, Any]:
    """The facts of `order` that are news for its intent."""
    started_at = order.ct or intent.started_at or intent.posted_at or now
    ends_at = None if intent.lease_s is None else started_at + intent.lease_s
    usd = order.price_usd_per_day
    found: dict[str, Any] = {
        "gpu": order.gpu_model,
        "price": order.price,
        "usd_per_coin": usd / order.price if usd and order.price else None,
        "creation_fee": order.creation_fee,
        "started_at": started_at,
        "mrl_s": order.mrl,
        "spend": order.spend,
    }
    if intent.ends_at is None:
        found["ends_at"] = ends_at
    if not order.active and intent.ended_at is None:
        found["ended_at"] = order.order_end or now
        found["reason"] = intent.reason or ending.why(order, seen or ending.Evidence())
    news: dict[str, Any] = {} if intent.missing_at is None else {"missing_at": None}
    if intent.usd_per_coin is not None:
        del found["usd_per_coin"]  # keep the value at the time of rental
    news |= {k: v for k, v in found.items() if v is not None and v != getattr(intent, k)}
    if news or now - (intent.seen_at or 0) > _SEEN_EVERY_S:
        news["seen_at"] = now
    return news


def named(
    session: Session, intent: Intent, answer: list[Order], known: set[int]
) -> Flow[Order | None]:
    """The order named in the answer, if it can belong to this request.

    An id alone is recorded in the intent, to look for. An order that existed before, belongs to
    another intent or is on another server can't belong to this request; two ids that differ
    prove nothing.
    """
    taken = known | (yield from local(claimed, session, intent))
    if len({order.id for order in answer}) != 1 or answer[0].id in taken:
        return None
    order = answer[0]
    if order.server_id == intent.server_id and order.active and in_time(order, intent):
        return (yield from claim(session, intent, order))
    if order.server_id is None:
        intent.order_id = order.id
    return None


def appearing(session: Session, intent: Intent, for_s: float) -> Flow[Order | None]:
    """Wait for a new order on the intent's server; None if none appears."""
    start = (yield from clock()).mono
    pause = _FIRST_PAUSE_S
    while True:
        now = (yield from clock()).mono
        last = now - start + pause >= for_s
        try:
            # The last look includes ended orders: an order that ended meanwhile was billed, too.
            rows = yield from request(endpoints.my_orders(include_completed=last), session.rules)
        except CloreAPIError:
            rows = Orders()  # a failed look is retried: the order matters, not this request
        here = (None, intent.server_id)
        if any(o.id == intent.order_id and o.server_id not in here for o in rows):
            intent.order_id = None  # the answer named an order on another server
        order = match(intent, rows, (yield from local(claimed, session, intent)))
        if order is not None:
            ours = yield from claim(session, intent, order)
            if ours is not None:
                return ours
        if last:
            return None
        yield Sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE_S)


def claimed(session: Session, intent: Intent) -> set[int]:
    """The orders of other intents."""
    try:
        return session.ledger.claimed() - {intent.order_id or 0}
    except ConfigError as exc:
        session.note_trouble(str(exc))
        return set()


def claim(session: Session, intent: Intent, order: Order) -> Flow[Order | None]:
    """The order, claimed for this intent; None if another intent has it."""
    now = (yield from clock()).wall
    return order if (yield from local(_claim, session, intent, order, now)) else None


def _claim(session: Session, intent: Intent, order: Order, now: float) -> bool:
    try:
        return session.ledger.claim(intent, order.id, facts(intent, order, now))
    except ConfigError as exc:
        session.note_trouble(str(exc))
        intent.order_id, intent.state = order.id, "created"
        return True
