"""`clore budget`: limits spending per day or month; orders over the limit are refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

import click

from clore_ai.cli import other_keys, output
from clore_ai.cli.account import connect
from clore_ai.models import price as prices

if TYPE_CHECKING:
    from clore_ai.models.records import BudgetStanding, Per

_WRITTEN = re.compile(r"\$?(\d+(?:\.\d*)?|\.\d+)/(day|month)", re.IGNORECASE)

currency_option = click.option(
    "--currency",
    help="For this coin alone: bitcoin, CLORE-Blockchain, USD-Blockchain. Default: USD, the "
    "worth of all coins.",
)


@click.group(invoke_without_command=True)
@output.json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show your budgets and what is left of them.

    A day and a month are those of the calendar in UTC. A new order is refused with exit 7 if the
    amount spent, the remaining cost of running orders until their lease or the period ends, and its
    own cost exceed the budget together. On this machine a budget belongs to the account and applies
    to every key that opens it.
    """
    if ctx.invoked_subcommand is not None:
        return
    with connect() as api:
        standings = api.budgets()
        if not standings:
            other_keys.note(api)
    _print(standings, as_json=as_json)


@command.command("set")
@click.argument("amount")
@currency_option
@output.json_option
def set_(amount: str, currency: str | None, as_json: bool) -> None:
    """Set a budget: 20/day, 100/month.

    AMOUNT is in USD, or in the coin that --currency names. A daily and a monthly budget can be set
    at the same time.
    """
    from clore_ai.models.records import Budget
    from clore_ai.rental.reports.budgets import set_budget

    found = _WRITTEN.fullmatch(amount.strip())
    if found is None:
        raise click.UsageError(f"{amount!r} is not a budget; write 20/day or 100/month.")
    per = cast("Per", found[2].lower())
    budget = Budget(_unit(currency), per, float(found[1]))
    with connect() as api:
        standings = api.drive(set_budget(api.session, budget))
    _print(standings, as_json=as_json)


@command.command()
@click.argument("period", required=False, type=click.Choice(["day", "month"]))
@currency_option
@output.json_option
def unset(period: Per | None, currency: str | None, as_json: bool) -> None:
    """Remove a budget.

    Removes all budgets, or only those of PERIOD and --currency.
    """
    from clore_ai.rental.spend.budget import shown

    unit = None if currency is None else _unit(currency)
    with connect() as api:
        gone = api.unset_budgets(period, unit)
    if as_json:
        output.data(gone)
        return
    output.note(f"Removed: {', '.join(shown(b) for b in gone)}.")


def _unit(currency: str | None) -> str:
    from clore_ai.models.records import USD_VALUE

    if currency is None or currency.strip().upper() == USD_VALUE:
        return USD_VALUE
    coin = prices.full(currency)
    if coin not in prices.SHORT:
        known = ", ".join(prices.SHORT)
        raise click.UsageError(f"There is no coin {currency!r}; write one of {known}, or USD.")
    return coin


def _print(standings: list[BudgetStanding], *, as_json: bool) -> None:
    from clore_ai.rental.spend.budget import amount
    from clore_ai.rental.spend.lease import moment

    if as_json:
        output.data(standings)
        return
    if not standings:
        output.note("No budget. Set one with: clore budget set 20/day")
        return
    output.rows(
        standings,
        {
            ">Budget": lambda s: amount(s.budget.amount, s.budget.unit),
            "Unit": lambda s: s.budget.unit,
            "Per": lambda s: s.budget.per,
            ">Spent": lambda s: None if s.unknown else amount(s.spent, s.budget.unit),
            ">Committed": lambda s: None if s.unknown else amount(s.committed, s.budget.unit),
            ">Left": lambda s: None if s.unknown else amount(s.left, s.budget.unit),
            "Until": lambda s: moment(s.ends_at),
        },
    )
    for reason in {s.unknown for s in standings if s.unknown}:
        output.note(f"Nothing more can be rented: {reason}.")
