"""Reads a spot bid as the user writes it, and guards against a bid far too high.

A bid is in the order's coin per day, or in USD per hour or day. A wrong digit costs money every
minute, so a bid above the server's on-demand price needs a confirmation, and one above three times
that price needs `--force`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

import click

from clore_ai.cli import output
from clore_ai.models import price as prices

if TYPE_CHECKING:
    from clore_ai.models import MarketplaceServer
    from clore_ai.rental.rent.high_bid import HighBid
    from clore_ai.rental.rent.ranking import Offer
    from clore_ai.rental.rent.wish import Wish

_COIN_PRICE = re.compile(
    r"(?P<amount>\d+(\.\d*)?|\.\d+)\s*(?P<coin>[A-Za-z][\w-]*)\s*(/\s*(d|day))?", re.IGNORECASE
)

force_option = click.option(
    "--force", is_flag=True, help="Allow a bid above three times the server's on-demand price."
)
yes_option = click.option(
    "-y", "--yes", is_flag=True,
    help="Don't ask; required without a terminal if the bid is above the on-demand price.",
)  # fmt: skip


@dataclass(frozen=True)
class Bid:
    """`amount` of `coin` per **day** (None: the order's coin), or of USD per **hour**."""

    amount: float
    coin: str | None = None
    in_usd: bool = False

    def per_day(self, coin: str, usd_per_coin: float | None) -> float:
        """The bid in the order's coin per **day**; refused if it can't be converted."""
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

    def in_coin(self, coin: str) -> Callable[[MarketplaceServer], float]:
        """As `per_day`, for a server, whose record has the coin's value."""
        return lambda server: self.per_day(coin, server.usd_per_coin(coin))


def read(text: str) -> Bid:
    """An option's type: ``0.2/h``, ``4.8/day`` (USD), ``0.0001 BTC/day``, ``0.00002`` (a coin)."""
    forms = "a bid; write 0.2/h or 4.8/day (USD), or 0.00002 (the coin per day)"
    return _read(text, forms, is_usd="/" in text)


def read_limit(text: str) -> Bid:
    """An option's type: ``0.4/h``, ``9.6/day`` or ``0.4`` in USD, ``0.0001 BTC/day`` in a coin."""
    forms = "a limit; write 0.4/h or 9.6/day (USD), or 0.0001 BTC/day"
    return _read(text, forms, is_usd=True)


def _read(text: str, forms: str, *, is_usd: bool) -> Bid:
    found = _COIN_PRICE.fullmatch(text.strip())
    coin = found and prices.full(found["coin"])
    try:
        if found and coin in prices.SHORT:
            bid = Bid(float(found["amount"]), coin)
        elif is_usd:
            bid = Bid(prices.read(text), in_usd=True)
        else:
            bid = Bid(float(text))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not {forms}.") from None
    if not 0 < bid.amount < float("inf"):
        raise click.BadParameter(f"{text!r} is not above 0.")
    return bid


def guard(what: str, found: HighBid | None, *, yes: bool, force: bool) -> None:
    """Warn of a bid above the on-demand price; it needs a confirmation, `yes` or `force`."""
    if found is None:
        return
    why = found.sentence(what)
    if found.is_far_above and not force:
        raise click.UsageError(f"{why} Bid less, or add --force.")
    output.can_agree(yes=yes or force, why=why)
    output.note(why, bold=True)


def guard_offers(wish: Wish, offers: list[Offer], *, yes: bool, force: bool) -> None:
    """As `guard`, for the servers that would be tried; the worst case is named.

    A limit (``--max-bid``) only gets a warning: the bid is the lowest that wins below it.
    """
    from clore_ai.rental.rent import high_bid

    is_limit = wish.max_bid_usd is not None
    what = "The limit of the bid" if is_limit else "The bid"
    found = high_bid.highest(wish, offers)
    guard(what, found, yes=yes or is_limit, force=force or is_limit)
