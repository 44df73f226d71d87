"""The spot auction: which order has a server, and how a bid may change; pure.

service.md section 5: the highest bid runs, a bid must reach `min_pricing` of its coin, an on-demand
rental pre-empts spot. Decided here, since the documents do not say:

- Bids in different coins are compared by their value in USD at the market's rates. Clients can only
  do the same: `spot_marketplace` shows offers in any `currency` beside `currency_rates_in_usd`. The
  comparison is in whole numbers, so that it always has the same winner.
- Of equal bids the older order wins, so that an equal bid does not outbid.
- `min_pricing` always applies: if a host raises it above a bid, the bid waits until either changes.
  So the winner depends only on the current bids.
- A rental from outside the marketplace counts as on demand.
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
"""A bid can be lowered once in 600 s, and raised at any time (service.md section 1)."""
_STEP_BTC = 1_000_000
"""Units of bitcoin that one lowering may take off, as in the example of the service's API page ("by
max of 0.00000100"); in other coins, what that is worth."""
_RATE_DIGITS = 10**8
_STEP_DIGITS = 10**4  # steps in other coins are whole numbers of 1e-8 coin

Rates = dict[str, int]
"""USD per coin in units of 1e-8 USD."""


@dataclass(frozen=True)
class Contender:
    """An open order of a server. `price` is units of `coin` per day; a lower `order` is older."""

    order: int
    on_demand: bool
    coin: str
    price: int


@dataclass(frozen=True)
class Offer:
    """A spot order whose price is to change. `minimum` None: its coin is no longer allowed."""

    owner: int
    coin: str
    price: int
    minimum: int | None
    lowered_ms: int | None


def fixed_rates(rates: Mapping[str, float]) -> Rates:
    """The market's rates as whole numbers."""
    return {coin: round(rate * _RATE_DIGITS) for coin, rate in rates.items()}


def worth(units: int, coin: str, rates: Mapping[str, int]) -> int:
    """The value of an amount, comparable across coins."""
    return units * rates.get(coin, 0)


def standing(
    contenders: Iterable[Contender], minimum: Mapping[str, int], rates: Mapping[str, int]
) -> list[int]:
    """The orders that could have the server, the winner first."""
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
    """The order that has the server: the one on demand, else the highest bid, else None.

    `minimum` holds the least bid in each allowed coin; `taken`: a renter outside the marketplace
    has the server (an earlier on-demand order keeps it).
    """
    kept = [c for c in contenders if c.on_demand or not taken]
    ranked = standing(kept, minimum, rates)
    return ranked[0] if ranked else None


def max_step(coin: str, rates: Mapping[str, int]) -> int:
    """Most units by which a bid in this coin may be lowered."""
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
    # Another account's order, an ended one, and one on demand are not offers of this account.
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
