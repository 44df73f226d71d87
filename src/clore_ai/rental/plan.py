"""Which servers meet a wish, at what cost, the best first; and, where none does, why. Pure.

The order: what an hour really costs, fees in and the creation fee spread over the lease; at the
same cost the more reliable host. In each server the coin is taken that costs least among those
that it allows and the wallet covers: the creation fee and the first hour (or the whole lease,
where it is shorter).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clore_ai.exceptions import BudgetError
from clore_ai.rental import lease
from clore_ai.rental.cost import Cost, cost
from clore_ai.rental.wish import AUTO

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from clore_ai.models import MarketplaceServer
    from clore_ai.rental.wish import Wish

_HOUR_S, _DAY_S = 3600.0, 86_400.0
_INF = float("inf")


@dataclass(frozen=True)
class Offer:
    """One server as it would be rented: in which coin, at what cost, until when."""

    server: MarketplaceServer
    cost: Cost
    end: lease.Settled
    balance: float | None
    """What the wallet of its coin holds; None where not known."""

    @property
    def effective_usd_per_hour(self) -> float | None:
        """USD per hour, fees in, the creation fee spread over the lease; None where unknown."""
        rate = self.cost.usd_per_coin
        return None if rate is None else self.effective_per_hour * rate

    @property
    def effective_per_hour(self) -> float:
        """As `effective_usd_per_hour`, in the coin."""
        hours = (self.end.lease_s or lease.DEFAULT_S) / _HOUR_S
        return self.cost.total_per_day / 24 + (self.cost.creation_fee or 0) / hours

    @property
    def lasts_h(self) -> float | None:
        """How long the wallet lasts, in hours."""
        if self.balance is None or not self.cost.total_per_day:
            return None
        left = self.balance - (self.cost.creation_fee or 0)
        return max(0.0, left / self.cost.total_per_day * 24)


def offers(
    servers: Iterable[MarketplaceServer], wish: Wish, balances: Mapping[str, float] | None
) -> list[Offer]:
    """The servers as they would be rented, the best first; who can't be paid is left out.

    `balances`: what each wallet holds; None where that is not known.
    """
    found = (_offer(server, wish, balances) for server in servers)
    return sorted((o for o in found if o is not None), key=lambda o: rank(o, wish))


def rank(offer: Offer, wish: Wish) -> tuple[float, ...]:
    """The smaller, the better."""
    server = offer.server
    usd = offer.effective_usd_per_hour
    by_cost = (_INF if usd is None else usd, offer.effective_per_hour, -(server.reliability or 0))
    first = {
        "price": 0.0,
        "reliability": -(server.reliability or 0),
        "gpu": -server.gpu_count,
        "ram": -(server.ram_gb or 0),
        "down": -((server.specs and server.specs.net and server.specs.net.down) or 0),
    }[wish.sort]
    return (first, *by_cost, server.id)


def _offer(
    server: MarketplaceServer, wish: Wish, balances: Mapping[str, float] | None
) -> Offer | None:
    tier = server.price and (
        server.price.on_demand if wish.type == "on-demand" else server.price.spot
    )
    coins = (tier.coins() if tier else []) if wish.currency == AUTO else [wish.currency]
    made = [o for coin in coins if (o := _in_coin(server, coin, wish, balances)) is not None]
    return min(made, key=lambda o: rank(o, wish), default=None)


def _in_coin(
    server: MarketplaceServer, coin: str, wish: Wish, balances: Mapping[str, float] | None
) -> Offer | None:
    terms = cost(server, coin, wish.type, wish.spot_price)
    if terms is None:
        return None
    most = wish.filter.max_price_usd
    if most is not None and (terms.price_usd_per_hour is None or terms.price_usd_per_hour > most):
        return None
    try:
        end = lease.settle(wish.limits, terms, server.mrl)
    except BudgetError:
        return None
    offer = Offer(server, terms, end, None if balances is None else balances.get(coin, 0.0))
    return offer if covers(offer) else None


def covers(offer: Offer) -> bool:
    """Does the wallet cover the creation fee and the first hour, or the lease if that is less?"""
    if offer.balance is None:
        return True
    seconds = min(_HOUR_S, offer.end.lease_s or _HOUR_S)
    first = offer.cost.total_per_day * seconds / _DAY_S
    return offer.balance >= (offer.cost.creation_fee or 0) + first
