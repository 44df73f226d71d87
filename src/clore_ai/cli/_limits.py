"""An order's end, as `clore deploy` takes it: ``--lease``, ``--max-hours``, ``--max-cost``."""

from __future__ import annotations

from math import inf, isfinite
from typing import TYPE_CHECKING, Any, Callable, TypeVar

import click

from clore_ai.cli import _units
from clore_ai.cli._length import Length

if TYPE_CHECKING:
    from clore_ai.client import CloreAI
    from clore_ai.models import MarketplaceServer, OrderType
    from clore_ai.rental.cost import Cost
    from clore_ai.rental.lease import Limits, Settled

F = TypeVar("F", bound=Callable[..., Any])


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (isfinite(value) and value > 0):
        raise click.BadParameter(f"{text!r} is not a number above 0.")
    return value


def options(command: F) -> F:
    """The options of an order's end, for a command that rents."""
    lease_help = (
        "How long it may run: 90s, 30m, 6h, 2d, none. What is over, `clore reap` ends. Default: "
        "24h, or less by the limits below."
    )
    for option in (
        click.option("--max-cost", type=_positive, metavar="USD",
                     help="The most that it may cost in all, in USD, fees in."),
        click.option("--max-hours", type=Length(alone="h"), metavar="HOURS",
                     help="The longest that it may run: 6, 6h, 90m."),
        click.option("--lease", type=Length(endless=True), metavar="LENGTH", help=lease_help),
    ):  # fmt: skip
        command = option(command)
    return command


def read(given: dict[str, Any]) -> Limits:
    """What the options say of its end."""
    from clore_ai.rental import lease  # noqa: PLC0415 - not for --help

    lease_s, most_s = given["lease"], given["max_hours"]
    return lease.Limits(
        None if lease_s == inf else lease_s,
        lease_s is not None,
        None if most_s is None else most_s / 3600,
        given["max_cost"],
    )


def settle(cost: Cost, mrl_h: float | None, given: dict[str, Any]) -> Settled:
    """The lease that the options come to; see `lease.settle`."""
    from clore_ai.rental import lease  # noqa: PLC0415 - not for --help

    return lease.settle(read(given), cost, mrl_h)


def check(
    api: CloreAI, server: MarketplaceServer, kind: OrderType, cost: Cost, lease_s: float | None
) -> None:
    """Does the order fit in the budgets, after a look at the orders? Nothing where there are none.

    Raises:
        BudgetError: it does not.
    """
    from clore_ai._flow import clock  # noqa: PLC0415 - not for --help
    from clore_ai.ledger import Intent  # noqa: PLC0415 - likewise
    from clore_ai.rental import afford, look  # noqa: PLC0415 - likewise

    if not api.ledger.budgets():
        return
    api.drive(look.orders(api.session, include_completed=True))
    wish = Intent(server.id, kind, cost.coin, "", lease_s=lease_s, price=cost.price_per_day)
    wish.usd_per_coin = cost.usd_per_coin
    afford.check(api.session, wish, api.drive(clock()).wall)


def line(api: CloreAI, settled: Settled, coin: str) -> str:
    """``2026-07-11 14:00 UTC (24h), at most $12.10``."""
    from clore_ai._flow import clock  # noqa: PLC0415 - not for --help
    from clore_ai.rental.lease import moment, words  # noqa: PLC0415 - likewise

    if settled.lease_s is None:
        end = "when you cancel it"
    else:
        at = moment(api.drive(clock()).wall + settled.lease_s)
        why = f" by {settled.because}" if settled.because else ""
        end = f"at {at} ({words(settled.lease_s)}{why})"
    if settled.at_most_usd is not None:
        return f"{end}, at most ${settled.at_most_usd:.2f}"
    if settled.at_most is not None:
        return f"{end}, at most {_units.coin(settled.at_most)} {coin}"
    return end
