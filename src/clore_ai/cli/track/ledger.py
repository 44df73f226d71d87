"""`clore ledger`: the orders rented, their duration and cost."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import click

from clore_ai._values import days
from clore_ai._values.lengths import duration
from clore_ai.cli import other_keys, output, units
from clore_ai.cli.account import connect
from clore_ai.cli.options import reading
from clore_ai.models import price as prices

if TYPE_CHECKING:
    from clore_ai.rental.reports.costs import By, Report
    from clore_ai.rental.spend.bill import Bill, Sum


@reading
def _begin(text: str) -> float:
    return days.read(text, time.time())


@reading
def _end(text: str) -> float:
    return days.read(text, time.time(), end=True)


@click.command()
@click.option(
    "--since", type=_begin, metavar="WHEN",
    help="Start of the period: a day (2026-05-01), or how long ago (7d).",
)  # fmt: skip
@click.option("--until", type=_end, metavar="WHEN",
              help="End of the period: the end of a day, or how long ago.")  # fmt: skip
@click.option("--by", type=click.Choice(["day", "gpu", "purpose", "server"]),
              help="Show totals, one line for each group and coin.")  # fmt: skip
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV on stdout, without the total.")
@click.option("--offline", is_flag=True, help="Show the last known state; send no request.")
@output.json_option
def command(
    *,
    since: float | None,
    until: float | None,
    by: By | None,
    as_csv: bool,
    offline: bool,
    as_json: bool,
) -> None:
    """Show what was rented, for how long, and what it cost.

    The cost is as the service reports it, fees included, in coin and in USD. Below it stands what
    the wallets lost in the same time. An order that ran beyond the period, or over midnight, counts
    by its share of the time.
    """
    if as_csv and as_json:
        raise click.UsageError("Give only one of --csv and --json.")
    begin = -math.inf if since is None else since
    end = math.inf if until is None else until
    if end <= begin:
        raise click.UsageError("--until is before --since: the period is empty.")
    from clore_ai.rental.reports import costs

    with connect() as api:
        found = api.drive(costs.report(api.session, begin, end, by, offline=offline))
        if found.stale:
            output.note(f"Shown as last seen, since the service can't be queried: {found.stale}")
        if not found.bills:
            other_keys.note(api, ended=True)
    if as_json:
        rows = {"by": by, "sums": found.sums} if by else {"orders": found.bills}
        output.data({**rows, "total": found.total, "wallets": found.wallets})
        return
    if as_csv:
        click.echo(found.csv(), nl=False)
        return
    if not found.bills:
        output.note("Nothing was rented" + (" in this time." if since or until else " yet."))
    _print(found)


def _print(found: Report) -> None:
    from clore_ai.rental.spend import bill

    if found.by and found.bills:
        _table_of_sums(found.by, found.sums)
    elif found.bills:
        _table(found.bills)
    if found.total:
        output.note(bill.in_words(found.total), bold=True)
    for wallet in found.wallets:
        if wallet.fell or wallet.explained:
            output.note(wallet.in_words())


def _table(bills: list[Bill]) -> None:
    output.rows(
        bills,
        {
            ">ID": lambda b: b.intent.order_id or None,
            ">Server": lambda b: b.intent.server_id,
            "GPU": lambda b: units.gpu(b.intent.gpu),
            "Type": lambda b: b.intent.type,
            "Purpose": lambda b: b.intent.purpose,
            "Ref": lambda b: b.intent.client_ref,
            "Start": lambda b: days.shown(b.begin),
            ">Time": lambda b: duration(b.seconds),
            ">Spend": lambda b: prices.coin(b.spend),
            ">Fees": lambda b: prices.coin(b.fees),
            ">Total": lambda b: prices.coin(b.total),
            "Coin": lambda b: prices.short(b.intent.currency),
            ">USD": lambda b: _usd(b.total_usd),
            "State": lambda b: (b.state == "ended" and b.intent.reason) or b.state,
        },
        spare=["Type", "Fees", "Spend", "Ref", "Server", "Purpose", "Start"],
    )


def _table_of_sums(by: By, sums: list[Sum]) -> None:
    day = f"Day ({days.shown(time.time(), '').strip()})"  # with the time zone
    title = {"day": day, "gpu": "GPU"}.get(by, by.capitalize())
    output.rows(
        sums,
        {
            title: lambda s: s.key,
            ">Orders": lambda s: s.orders,
            ">Time": lambda s: duration(s.seconds),
            ">Spend": lambda s: prices.coin(s.spend),
            ">Fees": lambda s: prices.coin(s.fees),
            ">Total": lambda s: prices.coin(s.total),
            "Coin": lambda s: prices.short(s.currency),
            ">USD": lambda s: _usd(s.usd),
        },
        spare=["Fees", "Spend"],
    )


def _usd(amount: float | None) -> str:
    return "-" if amount is None else f"{amount:.2f}" if amount >= 1 else f"{amount:.4f}"
