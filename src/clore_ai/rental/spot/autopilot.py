"""Steer a spot order by itself: look at its auction, bid as `autobid` says, until it is over.

One `spot_marketplace` request a look; `my_orders` at the start, at the end, every ten minutes, and
where the order is not among the bids. A lost answer is settled by the next look, which shows the
bid as it is; trouble of the network or the service passes. What was spent is what the service says.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from clore_ai._api import endpoints
from clore_ai._api.steps import Flow, Sleep, clock, request
from clore_ai.exceptions import (
    CloreAPIError,
    ConfigError,
    FieldError,
    InvalidInputError,
    NotFoundError,
    OrderUncertain,
    RateLimitError,
    ResponseError,
    TransportError,
)
from clore_ai.rental.limits import enforce
from clore_ai.rental.market import listing
from clore_ai.rental.market.cost import on_demand_per_day
from clore_ai.rental.orders import recover, wait
from clore_ai.rental.orders.reconcile import end_of, orders
from clore_ai.rental.spend import afford
from clore_ai.rental.spot import bidding, set_price
from clore_ai.rental.spot.bidding import Autobid, Decision, limit_per_day
from clore_ai.rental.spot.fallback import Moved, leave, rent

if TYPE_CHECKING:
    from clore_ai.models import Order, SpotMarket
    from clore_ai.rental.session import Session
    from clore_ai.rental.spot.run import Reason, SpotReport, SpotRun

_SLICE_S = 1.0
_ORDERS_EVERY_S = 600.0
_LISTED_EVERY_S = 3600.0
_BIDS_A_LOOK = 3
_FRESH_S = 120.0
"""So young, an order counts from its start: a minute is paid before the first look."""
_GONE = ("order_dont_exist", "order_not_active", "you_dont_own_this_order")
_KNOWN = ("can_lower_every_600_seconds", "exceeded_max_step", "amount_too_low")

_SAID = {
    "runs": "it runs",
    "outbid": "it is outbid",
    "beaten": "the limit is outbid: it waits, unbilled, until the others leave",
    "waits": "it does not run though its bid is the highest: somebody may rent on demand",
    "offline": "its host is offline",
    "refused": "its host does not take this coin any more",
}


def fly(session: Session, flight: SpotRun) -> Flow[SpotReport]:
    """Steer an order until it ends, the time is over, or the caller stops it; what came of it.

    Raises:
        NotFoundError, OrderEnded: there is no such order, or it runs no more.
        InvalidInputError: it is no spot order, or its limit can't be told in its coin.
        BudgetError: at its limit it would go over a budget.
        ConfigError: another command steers it already.
        AuthError: the key is not known.
    """
    start = (yield from clock()).mono
    while True:
        lock = session.ledger.lock(f"spot {flight.order_id}")
        if not lock.try_acquire():
            raise ConfigError(
                f"Another command of yours steers order {flight.order_id} already; end that first."
            )
        try:
            if flight.order is None:
                yield from prepare(session, flight)
            ended = yield from _steer(session, flight, start)
        finally:
            _keep(session, flight)
            lock.release()
        if ended != "fallback" or flight.new_order is None or flight.new_order.type != "spot":
            return flight.report(ended)
        before = flight.report("fallback")
        flight.order_id, flight.auto = flight.new_order.id, Autobid()
        flight.order = flight.new_order = flight.listed_at = flight.tried_at = flight.asked = None
        flight.over, flight.moved_from = False, before


def prepare(session: Session, flight: SpotRun) -> Flow[None]:
    """Look at the order, its server and its budget; nothing is bid. `fly` does it where not done.

    Raises:
        CloreAPIError: as `fly`.
    """
    order = yield from wait.listed(session, flight.order_id)
    if not order.active:
        raise (yield from end_of(session, order))
    if order.type == "on-demand":
        raise InvalidInputError(
            f"Order {order.id} is on-demand: its price is fixed; only spot orders have a bid.", 2
        )
    if order.server_id is None or order.currency is None:
        raise ResponseError(f"The service does not say which server order {order.id} is on.")
    fallback = flight.wishes.fallback
    if fallback is not None and not (fallback.image or order.image):
        raise InvalidInputError(
            f"The service does not say the image of order {order.id}; name one for the fallback.",
            2,
        )
    flight.order, flight.auto = order, _kept(session, order)
    now = yield from clock()
    flight.auto.headroom, flight.ordered_at = flight.wishes.headroom, now.mono
    if flight.auto.spend_before is None:
        fresh = order.ct is not None and now.wall - order.ct < _FRESH_S
        flight.auto.spend_before = 0.0 if fresh else order.spend
    yield from _list(session, flight)
    market: SpotMarket = yield from request(
        endpoints.spot_marketplace(order.server_id), session.rules
    )
    flight.auto.bid = order.price if flight.auto.bid is None else flight.auto.bid
    if not _limit(flight, market):
        raise InvalidInputError(
            f"What {order.currency} is worth in USD is not known; give the limit in "
            f"{order.currency} per day.",
            2,
        )
    intent = session.ledger.by_order(order.id)
    if intent is not None and flight.limit > (intent.price or 0.0):
        afford.check(session, replace(intent, price=flight.limit), now.wall, was=intent)


def _limit(flight: SpotRun, market: SpotMarket) -> bool:
    """Work out the limit in the coin; a rate that is missing for once is the last one."""
    coin, wishes = flight.coin, flight.wishes
    flight.rate = market.rates.usd(coin) or flight.rate
    limit = limit_per_day(wishes.max_usd_per_hour, wishes.max_per_day, flight.rate)
    flight.limit = flight.limit if limit is None else limit
    return flight.limit > 0


def _list(session: Session, flight: SpotRun) -> Flow[None]:
    """The price on demand, once an hour; not to know it is no trouble."""
    now = (yield from clock()).mono
    order = flight.order
    if order is None or (flight.listed_at is not None and now - flight.listed_at < _LISTED_EVERY_S):
        return
    flight.listed_at = now
    wanted = listing.Filter(available_only=False, id=order.server_id)
    try:
        found = (yield from listing.marketplace(session, wanted)).servers
    except CloreAPIError as exc:
        _pass(exc)
        return
    for server in found:
        price = on_demand_per_day(server, flight.coin)
        flight.on_demand = flight.on_demand if price is None else price


def _pass(exc: CloreAPIError) -> None:
    """Let trouble that may be over at the next look pass.

    Raises:
        CloreAPIError: it will not be.
    """
    if isinstance(exc, OrderUncertain):
        return
    if exc.maybe_acted or isinstance(exc, (RateLimitError, TransportError, ResponseError)):
        return
    raise exc


def _steer(session: Session, flight: SpotRun, start: float) -> Flow[Reason]:
    server = flight.order and flight.order.server_id
    flight.say("begins", (yield from clock()).wall, f"server {server}")
    keeper = enforce.Keeper(flight.order_id)
    while True:
        try:
            moved = yield from _once(session, flight)
        except CloreAPIError as exc:
            _pass(exc)
            moved = None
            flight.say("trouble", (yield from clock()).wall, f"{exc} Going on.")
        _keep(session, flight)
        ended: Reason | None = "fallback" if moved is not None else None
        ended = (
            "ended" if flight.over else ended or (yield from _pause(session, flight, keeper, start))
        )
        if ended is not None:
            break
    if ended == "limit" and flight.order is not None:
        error = yield from leave(session, flight.order)
        if error is not None and error.error != "order_not_active":
            raise error
    if not (flight.over and flight.order is not None and not flight.order.active):
        try:
            yield from settle(session, flight)
        except CloreAPIError as exc:
            _pass(exc)  # then the report goes by the last answer
    flight.say("ends", (yield from clock()).wall, ended)
    return ended


def _pause(
    session: Session, flight: SpotRun, keeper: enforce.Keeper, start: float
) -> Flow[Reason | None]:
    """Wait for the next look; why there is none, if so."""
    wishes, now = flight.wishes, (yield from clock()).mono
    if wishes.once:
        return "limit" if (yield from _limited(session, flight, keeper)) else "once"
    end = math.inf if wishes.for_s is None else start + wishes.for_s
    until = min(now + wishes.every_s, end)
    while not flight.stop():
        if (yield from _limited(session, flight, keeper)):
            return "limit"
        if now >= until:
            return "deadline" if now >= end else None
        yield Sleep(min(_SLICE_S, until - now))
        now = (yield from clock()).mono
    return "stopped"


def _limited(session: Session, flight: SpotRun, keeper: enforce.Keeper) -> Flow[bool]:
    """Has the order reached a limit? A near one is told."""
    if not flight.keeps:
        return False
    near, over = yield from keeper.look(session)
    for each in near:
        flight.say("near", (yield from clock()).wall, enforce.near(each))
    flight.limit_reached = over[0] if over else None
    return bool(over)


def settle(session: Session, flight: SpotRun) -> Flow[None]:
    """Look at the order itself: what it spent, and whether there is still one."""
    rows = yield from orders(session, include_completed=True)
    now = yield from clock()
    flight.ordered_at = now.mono
    order = next((o for o in rows if o.id == flight.order_id), None)
    flight.order = order or flight.order
    if session.looks.of(flight.order_id) == "gone":
        flight.over = True


def _once(session: Session, flight: SpotRun) -> Flow[Moved | None]:
    """One look, and what follows from it."""
    yield from _list(session, flight)
    if (yield from look(session, flight)) is None:
        return None
    return (yield from _fall_back(session, flight, (yield from clock()).wall))


def look(session: Session, flight: SpotRun) -> Flow[Decision | None]:
    """Look at the auction, and bid as it takes; None where the order is not among the bids.

    Raises:
        CloreAPIError: the service can't be asked, or does not let the bid be set.
    """
    order = flight.order
    if order is None or order.server_id is None:
        raise NotFoundError(f"You have no order {flight.order_id}. See: clore orders")
    market: SpotMarket = yield from request(
        endpoints.spot_marketplace(order.server_id), session.rules
    )
    now = yield from clock()
    _limit(flight, market)
    seen = bidding.look(market, order.id, flight.coin, flight.limit, now.wall)
    if seen is None or now.mono - flight.ordered_at >= _ORDERS_EVERY_S:
        yield from settle(session, flight)
        if flight.over:
            return None
    if seen is None:
        flight.say("waits", now.wall, "it is not among the bids of its server (yet)")
        return None
    flight.asked = None  # what was sent before shows in this look
    decision = flight.auto.see(seen, flight.on_demand)
    flight.say(decision.standing, now.wall, _SAID[decision.standing])
    yield from _bid(session, flight, decision)
    return decision


def _bid(session: Session, flight: SpotRun, decision: Decision) -> Flow[None]:
    auto = flight.auto
    for _ in range(_BIDS_A_LOOK):
        price = decision.price
        if price is None:
            return
        flight.asked = price
        try:
            yield from set_price.set_price(session, flight.order_id, price)
        except FieldError as exc:
            flight.asked = None
            now = (yield from clock()).wall
            again = auto.refused(exc.response, price, now)
            if exc.error in _GONE:
                yield from settle(session, flight)
            elif exc.error not in _KNOWN:
                flight.say("trouble", now, f"{exc} Going on.")
            if not again:
                return
            decision = auto.again(now)
            continue
        flight.asked = None
        now = (yield from clock()).wall
        raised = auto.bid is None or price >= auto.bid
        auto.accepted(price, now)
        flight.say("raised" if raised else "lowered", now, "the bid was set")
        return


def _fall_back(session: Session, flight: SpotRun, now: float) -> Flow[Moved | None]:
    """Rent elsewhere, once the order has not run for as long as was agreed."""
    fallback, idle = flight.wishes.fallback, flight.auto.idle_since
    if fallback is None or idle is None or flight.order is None:
        return None
    since = max(idle, idle if flight.tried_at is None else flight.tried_at)
    if now - since < fallback.after_s:
        return None
    flight.tried_at = now
    moved = yield from rent(session, flight.order, fallback, flight.limit)
    if moved.order is None:
        flight.say("trouble", now, f"{moved.why} Going on with the bid.")
        return None
    flight.new_order = moved.order
    flight.say("rented", now, moved.why, moved.order.id)
    recover.acknowledge(session, moved.order.id)
    error = yield from leave(session, flight.order)
    if error is not None:
        flight.say("trouble", now, f"Order {flight.order_id} may go on: {error}")
    return moved


def _kept(session: Session, order: Order) -> Autobid:
    """What an earlier command knew of this order; not of another one with the same id."""
    try:
        known = session.bids.pilot(order.id)
    except ConfigError as exc:
        session.note_trouble(str(exc))
        return Autobid()
    return Autobid.load(known) if known.get("ct") == order.ct else Autobid()


def _keep(session: Session, flight: SpotRun) -> None:
    order = flight.order
    if order is None:
        return
    try:
        steers = order.active and not flight.over
        session.bids.keep_pilot(order.id, {**flight.auto.dump(), "ct": order.ct} if steers else {})
    except ConfigError as exc:
        session.note_trouble(str(exc))
