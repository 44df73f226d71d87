"""What a rental will really cost: the price, the renter's fee on top, the creation fee (api.md, 4).

All amounts are in the coin paid; USD stands beside them where the coin's value is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clore_ai.models.server import USD

if TYPE_CHECKING:
    from clore_ai.models import MarketplaceServer, Order, OrderType

FEE_SHARE = {"on-demand": 0.05, "spot": 0.0125}
"""Of the price; up to half less with proof of holding, which the API does not tell."""
CREATION_FEE = {USD: 0.1}
"""Seen on orders in USD; not known for other coins."""


@dataclass(frozen=True)
class Cost:
    """The cost of one server, in `coin` per **day** unless the name says otherwise."""

    coin: str
    price_per_day: float
    fee_per_day: float
    creation_fee: float | None
    usd_per_coin: float | None

    @property
    def total_per_day(self) -> float:
        """Price and renter's fee, in `coin`."""
        return self.price_per_day + self.fee_per_day

    @property
    def price_usd_per_hour(self) -> float | None:
        """Without the fee; None where the coin's value is unknown."""
        return None if self.usd_per_coin is None else self.price_per_day * self.usd_per_coin / 24

    @property
    def total_usd_per_hour(self) -> float | None:
        """With the fee; None where the coin's value is unknown."""
        return None if self.usd_per_coin is None else self.total_per_day * self.usd_per_coin / 24

    @property
    def total_usd_per_day(self) -> float | None:
        """With the fee; None where the coin's value is unknown."""
        return None if self.usd_per_coin is None else self.total_per_day * self.usd_per_coin


def cost(
    server: MarketplaceServer,
    coin: str,
    type: OrderType = "on-demand",  # noqa: A002 - 004's word
    bid: float | None = None,
) -> Cost | None:
    """What renting `server` costs, at its list price or at a spot `bid` (coin per day).

    None where the host has no price in this coin, or does not take it.
    """
    price = bid if bid is not None else server.price_per_day(coin, type)
    if price is None or not server.allows(coin):
        return None
    return Cost(
        coin, price, price * FEE_SHARE[type], CREATION_FEE.get(coin), server.usd_per_coin(coin)
    )


def spent(order: Order) -> float | None:
    """What `order` has cost so far in its coin, fees in: `spend` holds none (api.md, 4).

    The renter's fee is that without proof of holding, so this is the most it can have been.
    None where the service does not say what was spent.
    """
    if order.spend is None:
        return None
    return order.spend + fees(order.type, order.spend, order.creation_fee)


def fees(type: str | None, spend: float, creation_fee: float | None) -> float:  # noqa: A002 - 004's word
    """What came on top of `spend`, in the same coin: the renter's fee, and what is asked once."""
    share = FEE_SHARE["spot" if type == "spot" else "on-demand"]
    return spend * share + (creation_fee or 0.0)
