"""Steers a spot order until it is over: holds its bid, keeps its limits, falls back.

Each look is one `spot_marketplace` request. `my_orders` is read at the start, at the end, every ten
minutes, and if the order is not among the bids. The amount spent is the service's.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from clore_ai._api import endpoints
from clore_ai._api.steps import Flow, Sleep, at_last, clock, local, request
from clore_ai.exceptions import (
    CloreAPIError,
    ConfigError,
    InvalidInputError,
    ResponseError,
)
from clore_ai.rental.limits import enforce
from clore_ai.rental.orders import recover, wait
from clore_ai.rental.orders.reconcile import end_of
from clore_ai.rental.spend import afford
from clore_ai.rental.spot import hold, set_price
from clore_ai.rental.spot.bidding import Autobid
from clore_ai.rental.spot.fallback import Moved, leave, rent

if TYPE_CHECKING:
    from clore_ai.models import Order, SpotMarket
    from clore_ai.rental.session import Session
    from clore_ai.rental.spot.report import Reason, SpotReport
    from clore_ai.rental.spot.run import SpotRun

_SLICE_S = 1.0
_FRESH_S = 120.0
"""An order younger than this counts from its start: a minute is billed before the first look."""


def fly(session: Session, run: SpotRun) -> Flow[SpotReport]:
    """Steer an order until it ends, the time is over, or the caller stops it; returns a report.

    Raises:
        NotFoundError, OrderEnded: there is no such order, or it has ended.
        InvalidInputError: it is not a spot order, or its limit in its coin is not known.
        BudgetError: at its limit it would exceed a budget.
        ConfigError: another command steers it already.
        AuthError: the key is not known.
    """
    start = (yield from clock()).mono
    run.newest = yield from local(session.ledger.newest)
    while True:
        lock = yield from local(session.ledger.lock, f"spot {run.order_id}")
        if not (yield from local(lock.try_acquire)):
            raise ConfigError(
                f"Another command of yours already bids for order {run.order_id}; stop that "
                "command first."
            )
        try:
            if run.order is None:
                yield from prepare(session, run)
            ended = yield from _steer(session, run, start)
        finally:
            yield from at_last(_keep, session, run)
            lock.release()
        if ended != "fallback" or run.new_order is None or run.new_order.type != "spot":
            return run.report(ended)
        before = run.report("fallback")
        run.order_id, run.auto = run.new_order.id, Autobid()
        run.order = run.new_order = run.listed_at = run.tried_at = run.asked = None
        run.over, run.moved_from = False, before


def so_far(session: Session, run: SpotRun) -> Flow[SpotReport]:
    """The report after the steering was interrupted; the order is read once more, without retries.

    Raises:
        CloreAPIError: the service can't be asked.
    """
    once = replace(session, rules=replace(session.rules, max_retries=0))
    yield from hold.reread_order(once, run)
    return run.report("stopped")


def goes_on(session: Session, run: SpotRun) -> str:
    """The orders that may be billed after the steering, and the command that stops them."""
    number, bid = f"{run.order_id}", run.in_words(run.auto.bid)
    if run.asked is not None and run.asked != run.auto.bid:
        bid += f", or at {run.in_words(run.asked)}, which was on its way"
    text = f"Order {number} goes on; while it runs it is billed at {bid}."
    if run.over:
        text = f"Order {number} has ended."
    mine = [] if run.newest is None else session.ledger.after(run.newest)
    rented = [i.order_id for i in mine if i.state == "created" and i.order_id is not None]
    for order_id in (i for i in rented if i != run.order_id):
        text += f" Order {order_id} was rented instead, and is billed."
        number = f"{number} {order_id}"
    if any(i.state != "created" for i in mine):
        text += " Another order may exist and be billed; check now with: clore orders."
    return f"{text} Stop paying with: clore cancel {number}"


def prepare(session: Session, run: SpotRun) -> Flow[None]:
    """Read the order, its server and its budget; nothing is bid. `fly` does this if needed.

    Raises:
        CloreAPIError: as `fly`.
    """
    order = yield from wait.listed(session, run.order_id)
    if not order.active:
        raise (yield from end_of(session, order))
    set_price.biddable(order)
    if order.server_id is None or order.currency is None:
        raise ResponseError(f"The service does not say which server order {order.id} is on.")
    fallback = run.wishes.fallback
    if fallback is not None and not (fallback.image or order.image):
        raise InvalidInputError(
            f"The service does not say the image of order {order.id}; name one for the fallback.",
            2,
        )
    run.order, run.auto = order, (yield from local(_kept, session, order))
    now = yield from clock()
    run.auto.headroom, run.ordered_at, run.at = run.wishes.headroom, now.mono, now.wall
    if run.auto.spend_before is None:
        fresh = order.ct is not None and now.wall - order.ct < _FRESH_S
        run.auto.spend_before = 0.0 if fresh else order.spend
    yield from hold.update_list_price(session, run)
    market: SpotMarket = yield from request(
        endpoints.spot_marketplace(order.server_id), session.rules
    )
    run.auto.bid = order.price if run.auto.bid is None else run.auto.bid
    if not hold.update_limit(run, market):
        raise InvalidInputError(
            f"The USD price of {order.currency} is not known; give the limit in "
            f"{order.currency} per day.",
            2,
        )
    yield from local(_afford, session, order.id, run.limit, now.wall)


def _afford(session: Session, order_id: int, limit: float, now: float) -> None:
    intent = session.ledger.by_order(order_id)
    if intent is not None and limit > (intent.price or 0.0):
        afford.check(session, replace(intent, price=limit), now, was=intent)


def _steer(session: Session, run: SpotRun, start: float) -> Flow[Reason]:
    server = run.order and run.order.server_id
    run.emit("begins", (yield from clock()).wall, f"server {server}")
    keeper = enforce.Keeper(run.order_id)
    while True:
        try:
            moved = yield from _once(session, run)
        except CloreAPIError as exc:
            hold.let_pass(exc)
            moved = None
            run.emit("trouble", (yield from clock()).wall, f"{exc} Going on.")
        yield from local(_keep, session, run)
        ended: Reason | None = "fallback" if moved is not None else None
        ended = "ended" if run.over else ended or (yield from _pause(session, run, keeper, start))
        if ended is not None:
            break
    if ended == "limit" and run.order is not None:
        error = yield from leave(session, run.order)
        if error is not None and error.error != "order_not_active":
            raise error
        if run.limit_reached is not None:
            yield from local(enforce.note_reason, session, run.limit_reached)
    if not (run.over and run.order is not None and not run.order.active):
        try:
            yield from hold.reread_order(session, run)
        except CloreAPIError as exc:
            hold.let_pass(exc)  # the report then uses the last answer
    run.emit("ends", (yield from clock()).wall, ended)
    return ended


def _pause(
    session: Session, run: SpotRun, keeper: enforce.Keeper, start: float
) -> Flow[Reason | None]:
    """Wait for the next look; returns the reason if there is no next look."""
    wishes, now = run.wishes, (yield from clock()).mono
    if wishes.once:
        return "limit" if (yield from _limited(session, run, keeper)) else "once"
    end = math.inf if wishes.for_s is None else start + wishes.for_s
    until = min(now + wishes.every_s, end)
    while not run.stop():
        if (yield from _limited(session, run, keeper)):
            return "limit"
        if now >= until:
            return "deadline" if now >= end else None
        yield Sleep(min(_SLICE_S, until - now))
        now = (yield from clock()).mono
    return "stopped"


def _limited(session: Session, run: SpotRun, keeper: enforce.Keeper) -> Flow[bool]:
    """Has the order reached a limit? A limit that is near is reported."""
    if not run.keeps:
        return False
    near, over = yield from keeper.check(session)
    for each in near:
        run.emit("near", (yield from clock()).wall, enforce.near(each))
    run.limit_reached = over[0] if over else None
    return bool(over)


def _once(session: Session, run: SpotRun) -> Flow[Moved | None]:
    """Look once, and act on the result."""
    yield from hold.update_list_price(session, run)
    if (yield from hold.once(session, run)) is None:
        return None
    return (yield from _fall_back(session, run, (yield from clock()).wall))


def _fall_back(session: Session, run: SpotRun, now: float) -> Flow[Moved | None]:
    """Rent elsewhere, once the order has not run for the agreed time."""
    fallback, idle = run.wishes.fallback, run.auto.idle_since
    if fallback is None or idle is None or run.order is None:
        return None
    since = max(idle, idle if run.tried_at is None else run.tried_at)
    if now - since < fallback.after_s:
        return None
    run.tried_at = now
    moved = yield from rent(session, run.order, fallback, run.limit)
    if moved.order is None:
        run.emit("trouble", now, f"{moved.why} Continuing with the bid.")
        return None
    run.new_order = moved.order
    run.emit("rented", now, moved.why, moved.order.id)
    yield from local(session.remember, moved.order, fallback.identity)
    yield from local(recover.acknowledge, session, moved.order.id)
    error = yield from leave(session, run.order)
    if error is not None:
        run.emit("trouble", now, f"Order {run.order_id} may still be billed: {error}")
    return moved


def _kept(session: Session, order: Order) -> Autobid:
    """What an earlier command knew of this order, but not of another one with the same id."""
    try:
        known = session.bids.pilot(order.id)
    except ConfigError as exc:
        session.note_trouble(str(exc))
        return Autobid()
    return Autobid.load(known) if known.get("ct") == order.ct else Autobid()


def _keep(session: Session, run: SpotRun) -> None:
    order = run.order
    if order is None:
        return
    try:
        steers = order.active and not run.over
        session.bids.keep_pilot(order.id, {**run.auto.dump(), "ct": order.ct} if steers else {})
    except ConfigError as exc:
        session.note_trouble(str(exc))
