"""Which servers meet a wish, at what cost, the best first. Pure; `no_match` says why none does.

The order: what an hour really costs, fees in and the creation fee spread over the lease, dearer by
what is held against the host (`hosts`); at the same cost the more reliable host. In each server the
coin is taken that costs least among those that it allows and the wallet covers: the creation fee
and the first hour (or the whole lease, where it is shorter).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from clore_ai._state.hosts import HostVerdicts
from clore_ai.exceptions import BudgetError
from clore_ai.models.price import DAY_S, per_day
from clore_ai.rental.market import cost as costs
from clore_ai.rental.market.cost import Cost, cost
from clore_ai.rental.rent.wish import AUTO
from clore_ai.rental.spend import lease

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from clore_ai.models import MarketplaceServer
    from clore_ai.models.price import Price
    from clore_ai.rental.rent.wish import Wish

_HOUR_S = 3600.0
_INF = float("inf")
_CLEARLY = 0.97
"""The share of a price below which another one is clearly less."""
_ROUNDING = 1e-9
"""By what share a price may be above its limit for having been converted there and back."""


@dataclass(frozen=True)
class Offer:
    """One server as it would be rented: in which coin, at what cost, until when."""

    server: MarketplaceServer
    cost: Cost
    end: lease.Settled
    balance: float | None
    """What the wallet of its coin holds; None where not known."""
    cost_factor: float = 1.0
    """By what factor it is ranked as if it cost more; see `hosts`."""
    auction_read_at: float | None = None
    """When its auction showed that this bid wins, on the monotonic clock; see `spot_offers`."""

    @property
    def effective(self) -> Price:
        """What it comes to, fees in, the creation fee spread over the lease."""
        seconds = self.end.lease_s or lease.DEFAULT_S
        return replace(self.cost.price, per_day=self.cost.of(seconds) / seconds * DAY_S)

    @property
    def lasts_h(self) -> float | None:
        """How long the wallet lasts, in hours."""
        if self.balance is None or not self.cost.total.per_day:
            return None
        return self.cost.lasts_s(self.balance) / _HOUR_S


def offers(
    servers: Iterable[MarketplaceServer],
    wish: Wish,
    balances: Mapping[str, float] | None = None,
    opinion: HostVerdicts | None = None,
) -> list[Offer]:
    """The servers as they would be rented, the best first; who can't be is left out.

    `balances`: what each wallet holds; None where that is not known. `opinion`: of hosts.
    """
    found = (_offer(server, wish, balances, opinion or HostVerdicts()) for server in servers)
    return sorted((o for o in found if o is not None), key=lambda o: rank(o, wish))


def rank(offer: Offer, wish: Wish) -> tuple[float, ...]:
    """The smaller, the better."""
    server = offer.server
    price = offer.effective
    in_usd = _INF if price.usd_per_day is None else price.usd_per_day * offer.cost_factor
    by_cost = (in_usd, price.per_day * offer.cost_factor, -(server.reliability or 0))
    first = {
        "price": 0.0,
        "reliability": -(server.reliability or 0),
        "gpu": -server.gpu_count,
        "ram": -(server.ram_gb or 0),
        "down": -((server.specs and server.specs.net and server.specs.net.down) or 0),
    }[wish.sort]
    return (first, *by_cost, server.id)


def _offer(
    server: MarketplaceServer,
    wish: Wish,
    balances: Mapping[str, float] | None,
    opinion: HostVerdicts,
) -> Offer | None:
    if server.gigaspot or server.mine or server.id in wish.avoid:
        return None
    if opinion.bars(server.id, server.owner) is not None:
        return None
    tier = server.price and (
        server.price.on_demand if wish.type == "on-demand" else server.price.spot
    )
    coins = (tier.coins() if tier else []) if wish.currency == AUTO else [wish.currency]
    cost_factor = opinion.cost_factor(server.id, server.owner)
    made = [o for c in coins if (o := _in_coin(server, c, wish, balances, cost_factor)) is not None]
    return min(made, key=lambda o: rank(o, wish), default=None)


def _in_coin(
    server: MarketplaceServer,
    coin: str,
    wish: Wish,
    balances: Mapping[str, float] | None,
    cost_factor: float,
) -> Offer | None:
    listed = server.price_per_day(coin, wish.type)
    terms = cost(server, coin, wish.type, wish.spot_price)
    if terms is None or (listed or 0) > terms.price.per_day:  # a bid that is too low
        return None
    balance = None if balances is None else balances.get(coin, 0.0)
    return at(server, terms, wish, balance, cost_factor)


def at(
    server: MarketplaceServer, terms: Cost, wish: Wish, balance: float | None, cost_factor: float
) -> Offer | None:
    """A server at these terms; None where the wish forbids them, or the wallet does not cover them.

    Without a price in the wish, a spot order is one at the least that the host asks.
    """
    most, limits, usd_h = wish.most_usd_per_hour, wish.limits, terms.price.usd_per_hour
    if most is not None and (usd_h is None or usd_h > most * (1 + _ROUNDING)):
        return None
    if terms.price.per_day <= 0:
        return None  # nothing can be bid, or promised, for it
    if limits.given and server.mrl and (limits.lease_s or 0) > server.mrl * _HOUR_S:
        return None  # it would end before the lease does
    try:
        end = lease.settle(limits, at_most(terms, wish), server.mrl)
    except BudgetError:
        return None
    offer = Offer(server, terms, end, balance, cost_factor)
    return offer if covers(offer) else None


def cheaper_coin(offer: Offer) -> Offer | None:
    """The same server on demand in another coin, where it costs clearly less, with fees.

    Coins can differ a lot (service.md, 3).
    """
    server, paid = offer.server, offer.effective.usd_per_hour
    listed = [cost(server, coin) for coin in server.usd_per_day("on-demand")]
    others = [replace(offer, cost=terms) for terms in listed if terms is not None]
    best = min(others, key=lambda o: o.effective.usd_per_hour or _INF, default=None)
    least = None if best is None else best.effective.usd_per_hour
    return None if paid is None or least is None or least > paid * _CLEARLY else best


def at_most(terms: Cost, wish: Wish) -> Cost:
    """The terms at the highest bid that the wish allows; as they are where it names none."""
    most, rate = wish.most_usd_per_hour, terms.price.usd_per_coin
    if wish.max_bid_usd is None or most is None or not rate:
        return terms
    return costs.at(replace(terms.price, per_day=per_day(most, rate)), "spot")


def covers(offer: Offer) -> bool:
    """Does the wallet cover the first hour, or the lease if that is less, with the creation fee?"""
    if offer.balance is None:
        return True
    return offer.balance >= offer.cost.of(min(_HOUR_S, offer.end.lease_s or _HOUR_S))
