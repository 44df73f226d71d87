"""Finds the bid at which a server can be rented by spot now, and keeps it winning during the boot.

The marketplace lists only the host's minimum; the bids are in each server's auction, one request
each. So few are read, in the order of their minimum cost, until the best one found costs no more
than the next could. An offer is checked once more just before it is ordered, at the lowest bid that
wins then. The order itself is checked until it is verified: if it is outbid, the bid is raised.
No bid exceeds the limit.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from clore_ai._api import endpoints
from clore_ai._api.steps import Flow, clock, request
from clore_ai.exceptions import FieldError
from clore_ai.rental.market.cost import cost
from clore_ai.rental.rent import ranking
from clore_ai.rental.spot import auction, hold
from clore_ai.rental.spot.run import EVERY_S, SpotRun, SpotSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clore_ai.models import Order, SpotMarket
    from clore_ai.rental.rent.ranking import Offer
    from clore_ai.rental.rent.wish import Wish
    from clore_ai.rental.session import Session

MOST = 20
"""The most auctions that are read for one plan: usually it takes one or two."""
FRESH_S = 10.0
"""A reading younger than this need not be repeated."""
_NO_LIMIT = 1e9
_LAG_S = 30.0
"""How long a new bid may take to change which order runs."""


@dataclass
class Auction:
    """The result of a plan."""

    offers: list[Offer]
    """Offers that can be rented, the best first, followed by those that were not checked."""
    beyond: list[Offer] = field(default_factory=list["Offer"])
    """Offers that would be available only above the limit, at the bid they need."""


def ranked(session: Session, wish: Wish, offers: Sequence[Offer]) -> Flow[Auction]:
    """The offers at the lowest bids that win now.

    Raises:
        CloreAPIError: an auction can't be read.
    """
    todo, found, beyond = list(offers), list[ranking.Offer](), list[ranking.Offer]()
    for offer in offers[:MOST]:
        if found and ranking.rank(found[0], wish) <= ranking.rank(offer, wish):
            break
        todo.remove(offer)
        now, dear = yield from _read_auction(session, wish, offer)
        found += [] if now is None else [now]
        beyond += [] if dear is None else [dear]
        found.sort(key=lambda o: ranking.rank(o, wish))
    return Auction([*found, *todo] if found else [], beyond)


def current(session: Session, wish: Wish, offer: Offer) -> Flow[Offer | None]:
    """The offer at the lowest bid that wins now; None if the limit is too low for that.

    Raises:
        CloreAPIError: its auction can't be read.
    """
    now = (yield from clock()).mono
    if offer.auction_read_at is not None and now - offer.auction_read_at < FRESH_S:
        return offer
    found, _ = yield from _read_auction(session, wish, offer)
    return found


def _read_auction(
    session: Session, wish: Wish, offer: Offer
) -> Flow[tuple[Offer | None, Offer | None]]:
    """The offer at the winning bid, first if that is within the limit, else second."""
    coin, server = offer.cost.coin, offer.server
    try:
        market: SpotMarket = yield from request(
            endpoints.spot_marketplace(server.id), session.rules
        )
    except FieldError:  # it is gone meanwhile
        return None, None
    rate = market.rates.usd(coin) or offer.cost.price.usd_per_coin
    limit = auction.limit_per_day(wish.most_usd_per_hour, None, rate)
    at = (yield from clock()).mono

    def bidding(most: float, terms: Wish) -> Offer | None:
        bid = auction.entry(market, coin, most)
        listed = None if bid is None else cost(server, coin, "spot", bid)
        if listed is None:
            return None
        paid = replace(listed, price=replace(listed.price, usd_per_coin=rate))
        found = ranking.at(server, paid, terms, offer.balance, offer.cost_factor)
        return None if found is None else replace(found, auction_read_at=at)

    within = None if limit is None else bidding(limit, wish)
    if within is not None:
        return within, None
    return None, bidding(_NO_LIMIT, wish.but(max_bid_usd=None, max_price_usd=None))


class BidKeeper:
    """Keeps the bid of an order that boots, by reading its auction every `every_s` seconds."""

    every_s = EVERY_S

    def __init__(self, order: Order, offer: Offer | None, wish: Wish) -> None:
        self.run = SpotRun(order.id, SpotSettings(max_usd_per_hour=wish.most_usd_per_hour))
        self.run.order = order
        self.run.auto.bid = order.price if offer is None else offer.cost.price.per_day
        self._waits_since: float | None = None

    def keep(self, session: Session) -> Flow[str | None]:
        """Raise the bid if it is outbid; returns the reason if that can't help any more.

        Raises:
            CloreAPIError: the auction can't be read, or the bid can't be set.
        """
        decision = yield from hold.once(session, self.run)
        now = (yield from clock()).mono
        if decision is None or decision.standing != "waits":
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = now
        if decision is not None and decision.standing == "beaten":
            return "others bid more than the limit"
        if decision is not None and decision.standing == "refused":
            return "its host no longer accepts this coin"
        if self._waits_since is not None and now - self._waits_since >= _LAG_S:
            return "its bid is the highest, but it does not run: the server may be rented on demand"
        return None
