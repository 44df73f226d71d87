"""Ranks the servers that meet a wish, the best first. Pure; `no_match` says why none does.

Unlike in a search, which sorts by the list price (`rental.market.listing`), servers are ranked by
the real cost of an hour, with fees and the creation fee spread over the lease, raised by what is
known against the host (`hosts`); at equal cost the more reliable host comes first. For each server
the cheapest coin is chosen that it accepts and that the wallet covers: the creation fee and the
first hour (or the whole lease, if that is shorter).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from clore_ai._state.hosts import HostVerdicts
from clore_ai.exceptions import BudgetError
from clore_ai.models.price import DAY_S, per_day
from clore_ai.rental.market import cost as costs
from clore_ai.rental.market.cost import Cost, cost
from clore_ai.rental.market.listing import BEST_FIRST
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
"""How far a price may exceed its limit because of conversion errors, as a share."""


@dataclass(frozen=True)
class Offer:
    """One server as it would be rented: in which coin, at what cost, until when."""

    server: MarketplaceServer
    cost: Cost
    end: lease.Settled
    balance: float | None
    """The balance of its coin's wallet; None if not known."""
    cost_factor: float = 1.0
    """The factor by which its cost is raised for the ranking; see `hosts`."""
    auction_read_at: float | None = None
    """When its auction showed that this bid wins, on the monotonic clock; see `spot_offers`."""

    @property
    def effective(self) -> Price:
        """The total cost, fees included, with the creation fee spread over the lease."""
        seconds = self.end.lease_s or lease.DEFAULT_S
        return replace(self.cost.price, per_day=self.cost.of(seconds) / seconds * DAY_S)

    @property
    def lasts_h(self) -> float | None:
        """How many hours the wallet pays for."""
        if self.balance is None or not self.cost.total.per_day:
            return None
        return self.cost.lasts_s(self.balance) / _HOUR_S

    def row(self) -> dict[str, Any]:
        """The plan for ``--json``."""
        return {
            "server_id": self.server.id,
            "gpu": self.server.gpu_model,
            "currency": self.cost.coin,
            "price_per_day": self.cost.price.per_day,
            "fee_per_day": self.cost.fee_per_day,
            "creation_fee": self.cost.creation_fee,
            "price_usd_per_hour": self.cost.price.usd_per_hour,
            "total_usd_per_hour": self.cost.total.usd_per_hour,
            "total_usd_per_day": self.cost.total.usd_per_day,
            "lease_hours": None if self.end.lease_s is None else self.end.lease_s / _HOUR_S,
            "at_most": self.end.at_most,
            "at_most_usd": self.end.at_most_usd,
            "balance": self.balance,
            "lasts_hours": self.lasts_h,
        }


def offers(
    servers: Iterable[MarketplaceServer],
    wish: Wish,
    balances: Mapping[str, float] | None = None,
    opinion: HostVerdicts | None = None,
) -> list[Offer]:
    """The servers as they would be rented, the best first; those that can't be are omitted.

    `balances`: what each wallet holds; None if that is not known. `opinion`: of hosts.
    """
    found = (_offer(server, wish, balances, opinion or HostVerdicts()) for server in servers)
    return sorted((o for o in found if o is not None), key=lambda o: rank(o, wish))


def rank(offer: Offer, wish: Wish) -> tuple[float, ...]:
    """The sort key: smaller is better."""
    server = offer.server
    price = offer.effective
    in_usd = _INF if price.usd_per_day is None else price.usd_per_day * offer.cost_factor
    by_cost = (in_usd, price.per_day * offer.cost_factor, -(server.reliability or 0))
    first = 0.0 if wish.sort == "price" else BEST_FIRST[wish.sort](server)
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
    if terms is None or (listed or 0) > terms.price.per_day:  # the bid is too low
        return None
    balance = None if balances is None else balances.get(coin, 0.0)
    return at(server, terms, wish, balance, cost_factor)


def at(
    server: MarketplaceServer, terms: Cost, wish: Wish, balance: float | None, cost_factor: float
) -> Offer | None:
    """A server at these terms; None if the wish forbids them, or the wallet does not cover them.

    Without a price in the wish, a spot order bids the host's minimum.
    """
    most, limits, usd_h = wish.most_usd_per_hour, wish.limits, terms.price.usd_per_hour
    if most is not None and (usd_h is None or usd_h > most * (1 + _ROUNDING)):
        return None
    if terms.price.per_day <= 0:
        return None  # no price can be bid or promised for it
    if limits.given and server.mrl and (limits.lease_s or 0) > server.mrl * _HOUR_S:
        return None  # the host's longest rental is shorter than the lease
    try:
        end = lease.settle(limits, at_most(terms, wish), server.mrl)
    except BudgetError:
        return None
    offer = Offer(server, terms, end, balance, cost_factor)
    return offer if covers(offer) else None


def cheaper_coin(offer: Offer) -> Offer | None:
    """The same server on demand in another coin, if it costs clearly less, fees included.

    Coins can differ a lot (service.md, 3).
    """
    server, paid = offer.server, offer.effective.usd_per_hour
    listed = [cost(server, coin) for coin in server.usd_per_day("on-demand")]
    others = [replace(offer, cost=terms) for terms in listed if terms is not None]
    best = min(others, key=lambda o: o.effective.usd_per_hour or _INF, default=None)
    least = None if best is None else best.effective.usd_per_hour
    return None if paid is None or least is None or least > paid * _CLEARLY else best


def at_most(terms: Cost, wish: Wish) -> Cost:
    """The terms at the highest bid that the wish allows; unchanged if it sets none."""
    most, rate = wish.most_usd_per_hour, terms.price.usd_per_coin
    if wish.max_bid_usd is None or most is None or not rate:
        return terms
    return costs.at(replace(terms.price, per_day=per_day(most, rate)), "spot")


def covers(offer: Offer) -> bool:
    """Does the wallet cover the creation fee and the first hour (or the lease, if shorter)?"""
    if offer.balance is None:
        return True
    return offer.balance >= offer.cost.of(min(_HOUR_S, offer.end.lease_s or _HOUR_S))
