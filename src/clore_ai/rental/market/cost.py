"""What a rental really costs: price, the renter's fee, the creation fee (service.md, 4).

The creation fee is charged once, 10 minutes after the order was made: an order that ends earlier
costs only its minutes. All amounts are in the coin paid, and also in USD if the coin's value is
known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

from clore_ai.models.price import DAY_S, USD, Price

if TYPE_CHECKING:
    from clore_ai.models import MarketplaceServer, Order, OrderType

FEE_SHARE = {"on-demand": 0.05, "spot": 0.0125}
"""The share of the price; up to half less with proof of holding, which the API does not report."""
CREATION_FEE = {USD: 0.1}
"""Seen on orders in USD; not known for other coins."""
CREATION_FEE_AFTER_S = 600.0


@dataclass(frozen=True)
class Cost:
    """The cost of one server; amounts are in `coin`."""

    price: Price
    """Without the fee."""
    fee_per_day: float
    creation_fee: float | None

    @property
    def coin(self) -> str:
        """The coin it is paid in."""
        return self.price.coin

    @property
    def total(self) -> Price:
        """Price plus the renter's fee."""
        return replace(self.price, per_day=self.price.per_day + self.fee_per_day)

    def once(self, seconds: float | None) -> float:
        """The creation fee of a rental of this length, in `coin`; None: a rental without an end."""
        return owed_once(self.creation_fee, 0.0, seconds)

    def of(self, seconds: float) -> float:
        """The total cost of a rental of this length, in `coin`."""
        return self.once(seconds) + self.total.per_day * seconds / DAY_S

    def lasts_s(self, amount: float) -> float:
        """The longest rental that this amount of `coin` pays for."""
        per_day = self.total.per_day
        if per_day <= 0:
            return inf
        left = amount - (self.creation_fee or 0)
        seconds = left / per_day * DAY_S
        if seconds >= CREATION_FEE_AFTER_S or not self.creation_fee:
            return max(0.0, seconds)
        without = max(0.0, amount) / per_day * DAY_S
        return min(without, CREATION_FEE_AFTER_S - 1)


def at(price: Price, type: OrderType) -> Cost:  # noqa: A002 - 004's word
    """What renting at this price costs."""
    return Cost(price, price.per_day * FEE_SHARE[type], CREATION_FEE.get(price.coin))


def cost(
    server: MarketplaceServer,
    coin: str,
    type: OrderType = "on-demand",  # noqa: A002 - 004's word
    bid: float | None = None,
) -> Cost | None:
    """What renting `server` costs, at its list price or at a spot `bid` (coin per day).

    None if the host has no price in this coin, or does not accept it.
    """
    price = bid if bid is not None else server.price_per_day(coin, type)
    if price is None or not server.allows(coin):
        return None
    return at(Price(price, coin, server.usd_per_coin(coin)), type)


def on_demand_per_day(server: MarketplaceServer, coin: str) -> float | None:
    """The price of `server` on demand in `coin` per **day**, without the fee; None if unknown.

    Without a price in this coin, it is converted from USD.
    """
    price, rate = server.price_per_day(coin), server.usd_per_coin(coin)
    if price is None and server.price_usd_per_day is not None and rate:
        return server.price_usd_per_day / rate
    return price


def spent(order: Order, now: float | None = None) -> float | None:
    """What `order` has cost so far in its coin, with the fees that `spend` omits (service.md, 4).

    The renter's fee is that without proof of holding, so this is the most it can be. None if the
    service does not say what was spent. `now`: for an order without an end.
    """
    if order.spend is None:
        return None
    once = owed_once(order.creation_fee, order.ct, order.order_end or now)
    return order.spend + fees(order.type, order.spend, once)


def owed_once(creation_fee: float | None, begun: float | None, until: float | None) -> float:
    """The creation fee that is charged in this time; all of it if the time is not known."""
    is_free = begun is not None and until is not None and until - begun < CREATION_FEE_AFTER_S
    return 0.0 if is_free else creation_fee or 0.0


def fees(type: str | None, spend: float, once: float = 0.0) -> float:  # noqa: A002 - 004's word
    """The fees on top of `spend`, in the same coin: the renter's fee, plus `once`."""
    share = FEE_SHARE["spot" if type == "spot" else "on-demand"]
    return spend * share + once
