"""The spot auction: which order has a server, and how a bid may change; pure.

service.md section 5: the highest bid runs, a bid must reach `min_pricing` of its coin, an on-demand
rental pre-empts spot. What it leaves open is settled here:

- Bids in different coins are compared by their worth in USD at the market's rates. Clients can do
  nothing else: `spot_marketplace` shows offers of any `currency` beside `currency_rates_in_usd`.
  The comparison is in whole numbers, so every reader of the same bids names the same winner.
- Of equal bids the older order wins, so nobody is put out by a bid that does not outbid.
- `min_pricing` is a standing condition: where a host raises it above a bid, that bid waits until
  it is raised or the host relents. Nothing about the past is needed to name the winner.
- Somebody who rents from outside of this marketplace has the server as on demand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clore_sandbox.rules import Refusal
from clore_sandbox.values.money import to_wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "LOWERING_WINDOW_MS",
    "Contender",
    "Offer",
    "Rates",
    "fixed_rates",
    "max_step",
    "may_set_price",
    "standing",
    "winner",
    "worth",
]

LOWERING_WINDOW_MS = 600_000
"""Lowering a bid is possible once per 600 s; raising is free (service.md section 1)."""
_STEP_BTC = 1_000_000
"""Units of bitcoin that one lowering may take off, as in the example of the service's API page ("by
max of 0.00000100"); in other coins, what that is worth."""
_RATE_DIGITS = 10**8
_STEP_DIGITS = 10**4  # steps in other coins are whole numbers of 1e-8 coin

Rates = dict[str, int]
"""USD per coin in units of 1e-8 USD."""


@dataclass(frozen=True)
class Contender:
    """An open order of a server. `price` is units of `coin` per day; a lower number is older."""

    order: int
    on_demand: bool
    coin: str
    price: int


@dataclass(frozen=True)
class Offer:
    """A spot order as `set_spot_price` meets it. `minimum` None: its coin is not taken any more."""

    owner: int
    coin: str
    price: int
    minimum: int | None
    lowered_ms: int | None


def fixed_rates(rates: Mapping[str, float]) -> Rates:
    """The market's rates as whole numbers."""
    return {coin: round(rate * _RATE_DIGITS) for coin, rate in rates.items()}


def worth(units: int, coin: str, rates: Mapping[str, int]) -> int:
    """What an amount is worth; comparable across coins, in a unit of its own."""
    return units * rates.get(coin, 0)


def standing(
    contenders: Iterable[Contender], minimum: Mapping[str, int], rates: Mapping[str, int]
) -> list[int]:
    """The orders that could have the server, the one that has the best claim first."""
    able = [
        (not c.on_demand, -worth(c.price, c.coin, rates), c.order)
        for c in contenders
        if c.on_demand or (c.coin in minimum and c.price >= minimum[c.coin])
    ]
    return [order for _, _, order in sorted(able)]


def winner(
    contenders: Iterable[Contender],
    minimum: Mapping[str, int],
    rates: Mapping[str, int],
    *,
    taken: bool = False,
) -> int | None:
    """The order that has the server: the one on demand, else the highest bid; None if none may.

    `minimum` holds the least bid of each coin that is taken, `taken` whether somebody outside
    rents the server (an order that was there on demand before keeps it).
    """
    kept = [c for c in contenders if c.on_demand or not taken]
    ranked = standing(kept, minimum, rates)
    return ranked[0] if ranked else None


def max_step(coin: str, rates: Mapping[str, int]) -> int:
    """Units that one lowering may take off a bid in this coin."""
    if coin == "bitcoin" or not rates.get(coin):
        return _STEP_BTC
    steps = worth(_STEP_BTC, "bitcoin", rates) // rates[coin] // _STEP_DIGITS
    return max(1, steps) * _STEP_DIGITS


def may_set_price(
    offer: Offer | None,
    *,
    account: int,
    desired: int,
    rates: Mapping[str, int],
    now_ms: int,
) -> Refusal | None:
    """Whether this account may bid `desired` units a day from now on.

    `time_to_lowering` counts down in whole seconds and is never 0; `max_step` is in the bid's coin.
    """
    # Somebody else's order, one that has ended and one on demand are all no offer of this account.
    if offer is None or offer.owner != account:
        return Refusal("order_dont_exist")
    if offer.minimum is None or desired < max(1, offer.minimum):
        return Refusal("amount_too_low")
    if desired >= offer.price:
        return None
    if offer.lowered_ms is not None and now_ms - offer.lowered_ms < LOWERING_WINDOW_MS:
        left_ms = offer.lowered_ms + LOWERING_WINDOW_MS - now_ms
        return Refusal("can_lower_every_600_seconds", {"time_to_lowering": -(-left_ms // 1000)})
    step = max_step(offer.coin, rates)
    if offer.price - desired > step:
        return Refusal("exceeded_max_step", {"max_step": to_wire(step)})
    return None
