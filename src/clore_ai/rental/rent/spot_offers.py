"""At which bid a server can be had by spot now, and that it is still had while it boots.

The marketplace lists the least that a host asks; what others bid is in the auction of each server,
a request each. So few are looked at, in the order of what they would cost at the least, until the
best that was found costs no more than the next could. An offer is looked at once more just before
it is ordered, at the lowest bid that wins then, and the order itself until it is verified: where
it is outbid it is raised. Nothing is bid above the limit.
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
"""How many auctions are looked at for one plan: usually one, or two."""
FRESH_S = 10.0
"""A look that is no older need not be made again."""
_NO_LIMIT = 1e9
_LAG_S = 30.0
"""How long a new bid may take to show in who runs."""


@dataclass
class Auction:
    """What a plan came to."""

    offers: list[Offer]
    """That can be had, the best first; behind them those that were not looked at."""
    beyond: list[Offer] = field(default_factory=list["Offer"])
    """That could be had above the limit only, at the bid that it takes."""


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
    """The offer at the lowest bid that wins now; None where the limit is too little for that.

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
    """The offer at the bid that wins, within the limit; or, not to be had so, beyond it."""
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
    """Keeps the bid of an order that boots, by a look every `every_s` seconds."""

    every_s = EVERY_S

    def __init__(self, order: Order, offer: Offer | None, wish: Wish) -> None:
        self.run = SpotRun(order.id, SpotSettings(max_usd_per_hour=wish.most_usd_per_hour))
        self.run.order = order
        self.run.auto.bid = order.price if offer is None else offer.cost.price.per_day
        self._waits_since: float | None = None

    def keep(self, session: Session) -> Flow[str | None]:
        """Raise the bid where it is outbid; a clause where that does not help any more.

        Raises:
            CloreAPIError: the auction can't be read, or the bid not be set.
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
            return "its bid is the highest, and it does not run: somebody may rent it on demand"
        return None
