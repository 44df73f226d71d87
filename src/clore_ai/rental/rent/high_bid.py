"""Is a bid above what its server costs on demand? A slip of a digit is money, every minute."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Callable

from clore_ai.models.price import USD
from clore_ai.rental.market import listing, rates
from clore_ai.rental.market.cost import on_demand_per_day
from clore_ai.rental.orders import wait
from clore_ai.rental.rent import ranking
from clore_ai.rental.spot import set_price

if TYPE_CHECKING:
    from clore_ai._api.steps import Flow
    from clore_ai.models import Order
    from clore_ai.models.price import Price
    from clore_ai.rental.rent.ranking import Offer
    from clore_ai.rental.rent.wish import Wish
    from clore_ai.rental.session import Session

_FAR_ABOVE = 3.0
"""So many times the price on demand is a slip: nobody needs to bid it to win."""


@dataclass(frozen=True)
class HighBid:
    """A bid above the price on demand; or one that can't be compared with it."""

    server_id: int | None
    bid: Price
    on_demand: Price | None
    """None where it is not known."""

    @property
    def times(self) -> float | None:
        """How many times the price on demand it is."""
        return None if self.on_demand is None else self.bid.per_day / self.on_demand.per_day

    @property
    def is_far_above(self) -> bool:
        """Is it so high that it must be a mistake?"""
        known = self.on_demand
        return known is not None and self.bid.per_day > _FAR_ABOVE * known.per_day

    def sentence(self, what: str = "The bid") -> str:
        """How far `what` is above the price on demand."""
        there, times = self.on_demand, self.times
        if there is None or times is None:
            return (
                f"The on-demand price of server {self.server_id} is not known, so the bid can't be "
                "checked for a mistake."
            )
        costs = there.text() if there.usd_per_hour else f"{there.per_day:.8g} a day"
        shown = f"{times:,.0f}" if times >= 10 else f"{times:.3g}"  # noqa: PLR2004 - digits that matter
        return f"{what} is {shown} times what server {self.server_id} costs on demand ({costs})."


def high(server_id: int | None, bid: Price, on_demand: float | None) -> HighBid | None:
    """What is to be said of a bid; None where it is no higher than the price on demand.

    `on_demand`: in the bid's coin per **day**.
    """
    if not on_demand:
        return HighBid(server_id, bid, None)
    if bid.per_day <= on_demand:
        return None
    return HighBid(server_id, bid, replace(bid, per_day=on_demand))


def of(offer: Offer) -> HighBid | None:
    """As `high`, of one offer at its own bid."""
    cost, server = offer.cost, offer.server
    return high(server.id, cost.price, on_demand_per_day(server, cost.coin))


@dataclass(frozen=True)
class BidChange:
    """A new bid for an order."""

    order: Order
    bid: Price
    is_lower: bool
    high: HighBid | None
    """As `high`; None for a lower bid."""


def change(
    session: Session, order_id: int, per_day: Callable[[str, float | None], float]
) -> Flow[BidChange]:
    """A new bid, before it is set, compared with the price of its server as it is listed now.

    `per_day`: the bid in a coin per **day**, from the coin and its worth in USD, if it is known.

    Raises:
        NotFoundError: there is no such order.
        InvalidInputError: the order is on-demand.
    """
    order = yield from wait.find(session, order_id)
    set_price.biddable(order)
    coin = order.currency or "its coin"
    if coin != USD:
        yield from rates.ask(session, order.server_id)
    bid = session.rates.price(per_day(coin, session.rates.usd(coin)), coin)
    if order.price is not None and bid.per_day < order.price:
        return BidChange(order, bid, True, None)
    server = yield from listing.one(session, order.server_id)
    listed = None if server is None else on_demand_per_day(server, coin)
    return BidChange(order, bid, False, high(order.server_id, bid, listed))


def highest(wish: Wish, offers: list[Offer]) -> HighBid | None:
    """Of the spot offers that would be tried, the bid that is furthest above the price on demand.

    Where the wish has a limit, it counts as the bid.
    """
    if wish.type != "spot":
        return None
    found = (
        high(
            offer.server.id,
            ranking.at_most(offer.cost, wish).price,
            on_demand_per_day(offer.server, offer.cost.coin),
        )
        for offer in offers[: wish.attempts]
    )
    return max((each for each in found if each), key=lambda each: each.times or 0.0, default=None)
