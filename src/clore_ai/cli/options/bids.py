"""A spot bid as the user writes it, and what guards it: a slip of a digit is money, every minute.

It is in the order's coin per day, or in USD per hour or day. Above what the server costs on demand
it takes a confirmation, above three times that `--force`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from clore_ai.cli import output, units
from clore_ai.models import price as prices

if TYPE_CHECKING:
    from clore_ai.models.price import Price
    from clore_ai.rental.rent.ranking import Offer
    from clore_ai.rental.rent.wish import Wish

FAR_ABOVE = 3.0
"""So many times the price on demand is a slip: nobody needs to bid it to win."""
_COIN_PRICE = re.compile(
    r"(?P<amount>\d+(\.\d*)?|\.\d+)\s*(?P<coin>[A-Za-z][\w-]*)\s*(/\s*(d|day))?", re.IGNORECASE
)

force_option = click.option(
    "--force", is_flag=True, help="Allow a bid above three times the server's on-demand price."
)


@dataclass(frozen=True)
class Bid:
    """`amount` of `coin` per **day**; of the order's where that is None. Of USD: per **hour**."""

    amount: float
    coin: str | None = None
    in_usd: bool = False

    def per_day(self, coin: str, usd_per_coin: float | None) -> float:
        """In the order's coin per **day**.

        Raises:
            UsageError: it is in another coin, or what this one is worth is not known.
        """
        if self.in_usd:
            if not usd_per_coin:
                raise click.UsageError(
                    f"The USD price of {coin} is not known; give the bid in {coin} per day."
                )
            from clore_ai.rental.spot import auction

            return auction.down(prices.per_day(self.amount, usd_per_coin))
        if self.coin not in (None, coin):
            raise click.UsageError(
                f"The order is paid in {coin}, not in {self.coin}; give the bid in USD (0.2/h) or "
                "in that coin."
            )
        return self.amount


def read(text: str) -> Bid:
    """``0.00002`` (coin per day), ``0.2/h`` or ``4.8/day`` (USD), ``0.0001 BTC/day``: a type."""
    bid = _of_coin(text) or _of_usd(text)
    if bid is None:
        try:
            bid = Bid(float(text))
        except ValueError:
            raise click.BadParameter(
                f"{text!r} is not a bid; write 0.2/h or 4.8/day (USD), or 0.00002 (the coin per "
                "day)."
            ) from None
    return _above_0(bid, text)


def read_limit(text: str) -> Bid:
    """``0.4/h``, ``9.6/day`` or ``0.4`` as USD, ``0.0001 BTC/day`` as a coin: a type."""
    bid = _of_coin(text)
    if bid is None:
        try:
            bid = Bid(units.read_usd_per_hour(text), in_usd=True)
        except click.BadParameter:
            raise click.BadParameter(
                f"{text!r} is not a limit; write 0.4/h or 9.6/day (USD), or 0.0001 BTC/day."
            ) from None
    return _above_0(bid, text)


def _of_coin(text: str) -> Bid | None:
    found = _COIN_PRICE.fullmatch(text.strip())
    coin = found and units.full(found["coin"])
    return Bid(float(found["amount"]), coin) if found and coin in units.SHORT else None


def _of_usd(text: str) -> Bid | None:
    """Only with a unit: a bare number is the coin per day, as 004 has it."""
    if "/" not in text:
        return None
    try:
        return Bid(units.read_usd_per_hour(text), in_usd=True)
    except click.BadParameter:
        return None


def _above_0(bid: Bid, text: str) -> Bid:
    if not 0 < bid.amount < float("inf"):
        raise click.BadParameter(f"{text!r} is not above 0.")
    return bid


def guard(
    what: str,
    server_id: int | None,
    bid: Price,
    on_demand: float | None,
    *,
    yes: bool,
    force: bool,
) -> None:
    """Say if a bid is above the price on demand, which is in the same coin per **day**.

    On a terminal the command's own question follows.

    Raises:
        UsageError: it is, and nobody can be asked; or it is more than three times that.
    """
    if not on_demand:
        why = (
            f"The on-demand price of server {server_id} is not known, so the bid can't be "
            "checked for a mistake."
        )
    elif bid.per_day <= on_demand:
        return
    else:
        there = replace(bid, per_day=on_demand)
        costs = there.text() if there.usd_per_hour else f"{on_demand:.8g} a day"
        times = bid.per_day / on_demand
        shown = f"{times:,.0f}" if times >= 10 else f"{times:.3g}"  # noqa: PLR2004 - digits that matter
        why = f"{what} is {shown} times what server {server_id} costs on demand ({costs})."
        if bid.per_day > FAR_ABOVE * on_demand and not force:
            raise click.UsageError(f"{why} Bid less, or add --force.")
    output.can_agree(yes=yes or force, why=why)
    output.note(why, bold=True)


def guard_offers(wish: Wish, offers: list[Offer], *, yes: bool, force: bool) -> None:
    """As `guard`, of the servers that would be tried; the worst of them is named.

    A limit (``--max-bid``) is said, not refused: below it the lowest bid that wins is found.

    Raises:
        UsageError: as `guard`.
    """
    from clore_ai.rental.market.cost import on_demand_per_day
    from clore_ai.rental.rent import ranking

    if wish.type != "spot":
        return
    is_limit = wish.max_bid_usd is not None
    above = [
        (bid, listed, offer)
        for offer in offers[: wish.attempts]
        if (bid := ranking.at_most(offer.cost, wish).price).per_day
        > (listed := on_demand_per_day(offer.server, offer.cost.coin) or 0.0)
    ]
    if above:
        bid, listed, offer = max(
            above, key=lambda each: each[0].per_day / each[1] if each[1] else 0.0
        )
        guard(
            "The limit of the bid" if is_limit else "The bid",
            offer.server.id,
            bid,
            listed,
            yes=yes or is_limit,
            force=force or is_limit,
        )
