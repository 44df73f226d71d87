"""A server's auction from the view of one order: its rivals, and the lowest bid that wins. Pure.

Rivals in other coins are compared in USD (service.md, 5), with a margin, as rates change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clore_ai.models.price import per_day

if TYPE_CHECKING:
    from clore_ai.models import SpotMarket, SpotOffer
    from clore_ai.models.price import Rates

TICKS = 10**8
"""Bids have 8 decimals, as in the service's own examples."""
OTHER_COIN = 0.001
"""The share by which a rival in another coin is outbid, as its value in ours changes."""


@dataclass(frozen=True)
class Rival:
    """Another renter's bid, in our coin per **day**; `above` is our lowest bid that beats it."""

    price: float
    above: float
    active: bool


@dataclass(frozen=True)
class AuctionView:
    """A server's auction at a moment, from the view of one order. Prices: its coin per day."""

    at: float
    """Unix seconds by the service's clock."""
    bid: float
    active: bool
    rivals: tuple[Rival, ...]
    least: float | None
    """The host's `min_pricing`; None if the host no longer accepts this coin."""
    limit: float
    online: bool = True


def up(price: float) -> float:
    """The price rounded up to 8 decimals."""
    return math.ceil(round(price * TICKS, 3)) / TICKS


def down(price: float) -> float:
    """The price rounded down to 8 decimals."""
    return math.floor(round(price * TICKS, 3)) / TICKS


def limit_per_day(
    max_usd_per_hour: float | None, max_per_day: float | None, usd_per_coin: float | None
) -> float | None:
    """The limit in coin per day, from one in USD per hour; None if that is not known."""
    if max_per_day is not None:
        return down(max_per_day)
    if max_usd_per_hour is None or not usd_per_coin:
        return None
    return down(per_day(max_usd_per_hour, usd_per_coin))


def mine(market: SpotMarket, order_id: int) -> SpotOffer | None:
    """The order's own offer: by its id, else the one marked as the user's."""
    offers = market.offers or []
    named = next((o for o in offers if o.order_id == order_id), None)
    return named or next((o for o in offers if o.my and o.order_id is None), None)


def read(
    market: SpotMarket, order_id: int, coin: str, limit: float, at: float
) -> AuctionView | None:
    """The view of `market` for an order in `coin`; None if the order is not among the bids."""
    own = mine(market, order_id)
    if own is None or own.price is None:
        return None
    rates, asks = market.rates, (market.server and market.server.min_pricing) or {}
    rivals = tuple(
        rival
        for offer in market.offers or ()
        if offer is not own
        and (offer.active or (offer.price or 0.0) >= asks.get(offer.currency or coin, 0.0))
        and (rival := _rival(offer, order_id, coin, limit, rates)) is not None
    )
    server = market.server
    asked = server.min_pricing if server else None
    least = 0.0 if asked is None else asked.get(coin)
    ranked = max((r.price for r in rivals), default=0.0)
    active = own.active if own.active is not None else own.price >= max(ranked, least or 0.0)
    online = server is None or server.online is not False
    return AuctionView(at, own.price, active, rivals, least, limit, online)


def entry(market: SpotMarket, coin: str, limit: float) -> float | None:
    """The lowest bid with which a new order would run now; None if `limit` is too low."""
    asked = (market.server and market.server.min_pricing) or {}
    if coin not in asked or (market.server and market.server.online is False):
        return None
    rates = market.rates
    above = [
        rival.above
        for offer in market.offers or ()
        if (offer.active or (offer.price or 0.0) >= asked.get(offer.currency or coin, 0.0))
        and (rival := _rival(offer, None, coin, limit, rates)) is not None
    ]
    bid = max([up(asked[coin]), *above])
    return bid if bid <= limit else None


def _rival(
    offer: SpotOffer, order_id: int | None, coin: str, limit: float, rates: Rates
) -> Rival | None:
    price, own_rate = offer.price, rates.usd(coin)
    if price is None:
        return None
    most = down(limit)
    if offer.currency in (coin, None):
        above = up(price + 1 / TICKS)
        theirs = offer.order_id
        older = order_id is not None and theirs is not None and order_id < theirs
        if price <= most < above and older:
            above = most
    else:
        rate = rates.usd(offer.currency)
        if rate is None or own_rate is None:
            # Not comparable: whether it is ahead shows in which order runs.
            return Rival(0.0, 0.0, bool(offer.active))
        price *= rate / own_rate
        above = up(price * (1 + OTHER_COIN))
        if price < most < above:
            above = most
    return Rival(price, above, bool(offer.active))
