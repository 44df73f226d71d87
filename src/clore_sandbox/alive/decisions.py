"""What simulated renters and hosts want to do, by seed; pure.

They know what any client knows (prices, who rents, their own orders and wallets) and act through
the same rules as one: what they decide may be refused. Renters differ in coin, patience and how
much they bid; hosts follow demand: a server that stands free gets cheaper, one that is rented
dearer, within a quarter and four times of what it first cost. Machines fail and come back.
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
    "Mine",
    "Renter",
    "Reprice",
    "Stall",
    "Switch",
    "Take",
    "TopUp",
    "Want",
    "draw_renter",
    "host_acts",
    "renter_acts",
    "rounded",
]

HOUR_MS = 3_600_000
SPOTS = 0.6
"""The share of renters who bid: most who watch the market do."""
_LOOKS_AT = 8
"""Servers that a renter looks at each time, and how many days' price it tops its wallet up by."""
_WORTH_OF_DAYS = 3
_CENT = 10**4
_CHEAPEST, _DEAREST = 0.25, 4.0


@dataclass(frozen=True)
class Renter:
    """What one renter is like. `bids` is the share of the price on demand that it bids at most."""

    account: int
    coin: str
    orders: int
    patience_ms: int
    looks_every_ms: int
    spot: bool
    bids: float
    complains: float


@dataclass(frozen=True)
class Stall:
    """A server as renters see it: prices in units per day of the coins that are taken."""

    server: int
    on_demand: Mapping[str, int]
    least_bid: Mapping[str, int]
    listed: bool
    rented: bool


@dataclass(frozen=True)
class Mine:
    """A renter's own open order."""

    order: int
    server: int
    spot: bool
    running: bool
    price: int
    since_ms: int


@dataclass(frozen=True)
class Want:
    """Rent a server; `bid` None is on demand."""

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
    """Somebody outside rents a server, or gives it back."""

    server: int
    taken: bool


Action = Want | Leave | Bid | TopUp | Reprice | Switch | Take


def draw_renter(draw: random.Random, account: int, spots: float = SPOTS) -> Renter:
    """One renter; `spots` is how likely it is to be one who bids."""
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
    """A price of 8 decimals, as people write them; never nothing."""
    return max(1, round(units / _CENT)) * _CENT


def renter_acts(
    draw: random.Random,
    renter: Renter,
    *,
    mine: Sequence[Mine],
    balance: int,
    market: Sequence[Stall],
    by_server: Mapping[int, Stall],
    rates: Mapping[str, int],
    now_ms: int,
) -> list[Action]:
    """What a renter does on looking: at its orders, at its wallet, and for one more server."""
    acts: list[Action] = []
    for order in mine:
        act = _about(draw, renter, order, by_server.get(order.server), rates, now_ms)
        if act is not None:
            acts.append(act)
    if len(mine) >= renter.orders or not market:
        return acts
    seen = [draw.choice(market) for _ in range(_LOOKS_AT)]
    open_to_it = [
        stall
        for stall in seen
        if stall.listed and not stall.rented and renter.coin in stall.on_demand
    ]
    if not open_to_it:
        return acts
    stall = min(open_to_it, key=lambda s: s.on_demand[renter.coin])
    price = stall.on_demand[renter.coin]
    if balance < price:
        acts.append(TopUp(renter.account, renter.coin, price * _WORTH_OF_DAYS))
    least = stall.least_bid.get(renter.coin)
    if not renter.spot:
        acts.append(Want(stall.server, renter.coin, None))
    elif least is not None:
        bid = max(least, rounded(price * renter.bids * draw.uniform(0.6, 1.0)))
        acts.append(Want(stall.server, renter.coin, bid))
    return acts


def _about(
    draw: random.Random,
    renter: Renter,
    order: Mine,
    stall: Stall | None,
    rates: Mapping[str, int],
    now_ms: int,
) -> Action | None:
    """What a renter does about an order of its own."""
    tired = draw.random() < renter.looks_every_ms / renter.patience_ms
    if now_ms - order.since_ms > HOUR_MS // 2 and tired:
        complains = draw.random() < renter.complains
        return Leave(order.order, "does not do what it should" if complains else None)
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
    """What happens to a server in some time; `drift` is its price over what it was at first."""

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
        if _CHEAPEST <= drift * factor <= _DEAREST:
            acts.append(Reprice(server, factor))
    return acts
