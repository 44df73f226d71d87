"""Holds a spot order at the lowest bid that wins: reads its auction once, and bids if needed.

After a lost answer the next reading shows the bid as it is. A failure of the network or the service
is only reported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_ai._api import endpoints
from clore_ai._api.steps import Flow, clock, request
from clore_ai.exceptions import (
    CloreAPIError,
    FieldError,
    NotFoundError,
    OrderUncertain,
    RateLimitError,
    ResponseError,
    TransportError,
)
from clore_ai.rental.market import listing
from clore_ai.rental.market.cost import on_demand_per_day
from clore_ai.rental.orders.reconcile import orders
from clore_ai.rental.spot import auction, set_price

if TYPE_CHECKING:
    from clore_ai.models import SpotMarket
    from clore_ai.rental.session import Session
    from clore_ai.rental.spot.bidding import Decision
    from clore_ai.rental.spot.run import SpotRun

_ORDERS_EVERY_S = 600.0
_LISTED_EVERY_S = 3600.0
_BIDS_A_LOOK = 3
_GONE = ("order_dont_exist", "order_not_active", "you_dont_own_this_order")
_KNOWN = ("can_lower_every_600_seconds", "exceeded_max_step", "amount_too_low")

_SENTENCES = {
    "runs": "it runs",
    "outbid": "it is outbid",
    "beaten": "others bid more than the limit: the order waits, unbilled, until they leave",
    "waits": "its bid is the highest, but it does not run: the server may be rented on demand",
    "offline": "its host is offline",
    "refused": "its host no longer accepts this coin",
}


def update_limit(run: SpotRun, market: SpotMarket) -> bool:
    """Calculate the limit in the coin; a missing rate is replaced by the last one."""
    coin, wishes = run.coin, run.wishes
    run.rate = market.rates.usd(coin) or run.rate
    limit = auction.limit_per_day(wishes.max_usd_per_hour, wishes.max_per_day, run.rate)
    run.limit = run.limit if limit is None else limit
    return run.limit > 0


def update_list_price(session: Session, run: SpotRun) -> Flow[None]:
    """Read the price on demand, once an hour; a failure is no trouble."""
    now = (yield from clock()).mono
    order = run.order
    if order is None or (run.listed_at is not None and now - run.listed_at < _LISTED_EVERY_S):
        return
    run.listed_at = now
    try:
        server = yield from listing.one(session, order.server_id)
    except CloreAPIError as exc:
        let_pass(exc)
        return
    price = None if server is None else on_demand_per_day(server, run.coin)
    run.on_demand = run.on_demand if price is None else price


def let_pass(exc: CloreAPIError) -> None:
    """Ignore an error that may be gone at the next look.

    Raises:
        CloreAPIError: any other error.
    """
    if isinstance(exc, OrderUncertain):
        return
    if exc.maybe_acted or isinstance(exc, (RateLimitError, TransportError, ResponseError)):
        return
    raise exc


def reread_order(session: Session, run: SpotRun) -> Flow[None]:
    """Read the order itself: what it spent, and whether it still exists."""
    rows = yield from orders(session, include_completed=True)
    now = yield from clock()
    run.ordered_at = now.mono
    order = next((o for o in rows if o.id == run.order_id), None)
    run.order = order or run.order
    if session.listings.of(run.order_id) == "gone":
        run.over = True


def once(session: Session, run: SpotRun) -> Flow[Decision | None]:
    """Read the auction, and bid if needed; None if the order is not among the bids.

    Raises:
        CloreAPIError: the service can't be asked, or does not accept the bid.
    """
    order = run.order
    if order is None or order.server_id is None:
        raise NotFoundError(f"You have no order {run.order_id}. See: clore orders")
    market: SpotMarket = yield from request(
        endpoints.spot_marketplace(order.server_id), session.rules
    )
    now = yield from clock()
    update_limit(run, market)
    seen = auction.read(market, order.id, run.coin, run.limit, now.wall)
    if seen is None or now.mono - run.ordered_at >= _ORDERS_EVERY_S:
        yield from reread_order(session, run)
        if run.over:
            return None
    if seen is None:
        run.emit("waits", now.wall, "it is not among the bids of its server (yet)")
        return None
    run.asked = None  # this look shows the effect of the last bid
    decision = run.auto.see(seen, run.on_demand)
    run.emit(decision.standing, now.wall, _SENTENCES[decision.standing])
    yield from _bid(session, run, decision)
    return decision


def _bid(session: Session, run: SpotRun, decision: Decision) -> Flow[None]:
    auto = run.auto
    for _ in range(_BIDS_A_LOOK):
        price = decision.price
        if price is None:
            return
        run.asked = price
        try:
            yield from set_price.set_price(session, run.order_id, price)
        except FieldError as exc:
            run.asked = None
            now = (yield from clock()).wall
            again = auto.refused(exc, price, now)
            if exc.error in _GONE:
                yield from reread_order(session, run)
            elif exc.error not in _KNOWN:
                run.emit("trouble", now, f"{exc} Going on.")
            if not again:
                return
            decision = auto.again(now)
            continue
        run.asked = None
        now = (yield from clock()).wall
        raised = auto.bid is None or price >= auto.bid
        auto.accepted(price, now)
        run.emit("raised" if raised else "lowered", now, "the bid was set")
        return
