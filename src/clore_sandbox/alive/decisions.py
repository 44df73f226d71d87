"""Decides what simulated renters and hosts do, by seed; pure.

They know what any client knows (prices, rentals, their own orders and wallets), and the same rules
may refuse their requests. Renters differ in coin, patience and how much they bid. Hosts follow
demand: a free server gets cheaper, a rented one more expensive, between a quarter of its first
price and four times that price. Machines fail and come back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clore_sandbox.rules.auction import max_step
from clore_sandbox.values.money import COINS

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

__all__ = [
    "SPOTS",
    "Action",
    "Bid",
    "Leave",
    "OwnOrder",
    "Rent",
    "Renter",
    "Reprice",
    "SeenServer",
    "Switch",
    "Take",
    "TopUp",
    "draw_renter",
    "host_acts",
    "renter_acts",
    "rounded",
]

HOUR_MS = 3_600_000
SPOTS = 0.6
"""The share of renters that bid."""
_LOOKS_AT = 8
"""Servers that a renter compares each time, and the days' price that one top-up adds."""
_WORTH_OF_DAYS = 3
_CENT = 10**4
_LEAST_DRIFT, _MOST_DRIFT = 0.25, 4.0


@dataclass(frozen=True)
class Renter:
    """A renter's habits. `bids` is its highest bid as a share of the on-demand price."""

    account: int
    coin: str
    orders: int
    patience_ms: int
    looks_every_ms: int
    spot: bool
    bids: float
    complains: float


@dataclass(frozen=True)
class SeenServer:
    """A server as renters see it: prices in units per day, for each coin it accepts."""

    server: int
    on_demand: Mapping[str, int]
    least_bid: Mapping[str, int]
    listed: bool
    rented: bool


@dataclass(frozen=True)
class OwnOrder:
    """A renter's own open order."""

    order: int
    server: int
    spot: bool
    running: bool
    price: int
    since_ms: int


@dataclass(frozen=True)
class Rent:
    """Rent a server; `bid` None means on demand."""

    server: int
    coin: str
    bid: int | None


@dataclass(frozen=True)
class Leave:
    """Cancel an order."""

    order: int
    issue: str | None


@dataclass(frozen=True)
class Bid:
    """Change a bid."""

    order: int
    price: int


@dataclass(frozen=True)
class TopUp:
    """Put money into a wallet."""

    account: int
    coin: str
    units: int


@dataclass(frozen=True)
class Reprice:
    """A host multiplies its prices."""

    server: int
    factor: float


@dataclass(frozen=True)
class Switch:
    """A host's machine fails or comes back."""

    server: int
    online: bool


@dataclass(frozen=True)
class Take:
    """A renter outside the marketplace takes a server, or gives it back."""

    server: int
    taken: bool


Action = Rent | Leave | Bid | TopUp | Reprice | Switch | Take


def draw_renter(draw: random.Random, account: int, spots: float = SPOTS) -> Renter:
    """Draw a renter; `spots` is the probability that it bids."""
    return Renter(
        account=account,
        coin=draw.choice(COINS),
        orders=draw.choice((1, 1, 1, 2, 3, 6)),
        patience_ms=round(draw.lognormvariate(2.0, 1.0) * HOUR_MS),
        looks_every_ms=round(draw.uniform(0.1, 1.5) * HOUR_MS),
        spot=draw.random() < spots,
        bids=draw.uniform(0.5, 1.1),
        complains=draw.choice((0.0, 0.02, 0.1)),
    )


def rounded(units: float) -> int:
    """A price rounded to 8 decimals, never 0."""
    return max(1, round(units / _CENT)) * _CENT


def renter_acts(
    draw: random.Random,
    renter: Renter,
    *,
    mine: Sequence[OwnOrder],
    balance: int,
    market: Sequence[SeenServer],
    by_server: Mapping[int, SeenServer],
    rates: Mapping[str, int],
    now_ms: int,
) -> list[Action]:
    """What a renter does: about its orders, its wallet, and one more server."""
    acts: list[Action] = []
    for order in mine:
        act = _about(draw, renter, order, by_server.get(order.server), rates, now_ms)
        if act is not None:
            acts.append(act)
    if len(mine) >= renter.orders or not market:
        return acts
    seen = [draw.choice(market) for _ in range(_LOOKS_AT)]
    candidates = [
        stall
        for stall in seen
        if stall.listed and not stall.rented and renter.coin in stall.on_demand
    ]
    if not candidates:
        return acts
    stall = min(candidates, key=lambda s: s.on_demand[renter.coin])
    price = stall.on_demand[renter.coin]
    if balance < price:
        acts.append(TopUp(renter.account, renter.coin, price * _WORTH_OF_DAYS))
    least = stall.least_bid.get(renter.coin)
    if not renter.spot:
        acts.append(Rent(stall.server, renter.coin, None))
    elif least is not None:
        bid = max(least, rounded(price * renter.bids * draw.uniform(0.6, 1.0)))
        acts.append(Rent(stall.server, renter.coin, bid))
    return acts


def _about(
    draw: random.Random,
    renter: Renter,
    order: OwnOrder,
    stall: SeenServer | None,
    rates: Mapping[str, int],
    now_ms: int,
) -> Action | None:
    """What a renter does about one of its orders."""
    tired = draw.random() < renter.looks_every_ms / renter.patience_ms
    if now_ms - order.since_ms > HOUR_MS // 2 and tired:
        complains = draw.random() < renter.complains
        return Leave(order.order, "does not work as it should" if complains else None)
    if not order.spot or stall is None:
        return None
    most = round(stall.on_demand.get(renter.coin, 0) * renter.bids)
    if not order.running:
        raised = rounded(order.price * draw.uniform(1.02, 1.15))
        return Bid(order.order, raised) if raised <= most else None
    least = stall.least_bid.get(renter.coin)
    lowered = order.price - max_step(renter.coin, rates)
    if least is not None and lowered >= least and draw.random() < 0.2:  # noqa: PLR2004 - now and then
        return Bid(order.order, lowered)
    return None


def host_acts(
    draw: random.Random,
    *,
    server: int,
    online: bool,
    taken: bool,
    busy: bool,
    drift: float,
    elapsed_ms: int,
) -> list[Action]:
    """What happens to a server in some time; `drift` is its price divided by its first price."""

    def happens(every_h: float) -> bool:
        return draw.random() < elapsed_ms / (every_h * HOUR_MS)

    if not online:
        return [Switch(server, online=True)] if happens(2) else []
    acts: list[Action] = []
    if happens(90):
        acts.append(Switch(server, online=False))
    if taken and happens(30):
        acts.append(Take(server, taken=False))
    elif not taken and not busy and happens(60):
        acts.append(Take(server, taken=True))
    if happens(12):
        factor = draw.uniform(1.0, 1.08) if busy or taken else draw.uniform(0.9, 1.01)
        if _LEAST_DRIFT <= drift * factor <= _MOST_DRIFT:
            acts.append(Reprice(server, factor))
    return acts
