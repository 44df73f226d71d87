"""`clore ledger`: the orders rented, their duration and cost."""

from __future__ import annotations

import csv
import io
import math
import time
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from clore_ai._values.lengths import duration
from clore_ai._values.sizes import counted
from clore_ai._values.text import one_line
from clore_ai.cli import other_keys, output, units
from clore_ai.cli.account import connect
from clore_ai.cli.options import period
from clore_ai.rental.spend.bill import COLUMNS, Sum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clore_ai.rental.reports.costs import By
    from clore_ai.rental.spend.bill import Bill, Wallet

_LONGEST = 4_000


@click.command()
@click.option(
    "--since", metavar="WHEN", help="Start of the period: a day (2026-05-01), or how long ago (7d)."
)
@click.option(
    "--until", metavar="WHEN", help="End of the period: the end of a day, or how long ago."
)
@click.option("--by", type=click.Choice(["day", "gpu", "purpose", "server"]),
              help="Show totals, one line for each group and coin.")  # fmt: skip
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV on stdout, without the total.")
@click.option("--offline", is_flag=True, help="Show the last known state; send no request.")
@output.json_option
def command(
    *,
    since: str | None,
    until: str | None,
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
    now = time.time()
    begin = -math.inf if since is None else period.moment(since, now, "--since")
    end = math.inf if until is None else period.moment(until, now, "--until", end=True)
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
        _csv(
            output.jsonable(found.sums if by else found.bills),
            [f.name for f in fields(Sum)] if by else COLUMNS,
        )
        return
    if not found.bills:
        output.note("Nothing was rented" + (" in this time." if since or until else " yet."))
    elif by:
        _table_of_sums(by, found.sums)
    else:
        _table(found.bills)
    _print_total(found.total)
    for wallet in found.wallets:
        _print_wallet(wallet)


def _csv(rows: list[dict[str, Any]], columns: Sequence[str]) -> None:
    text = io.StringIO()
    out = csv.DictWriter(text, columns, lineterminator="\n")
    out.writeheader()
    out.writerows({name: _cell(name, value) for name, value in row.items()} for row in rows)
    click.echo(text.getvalue(), nl=False)


def _cell(name: str, value: object) -> object:
    """A text on one line; with a quote before it if a spreadsheet would take it for a formula.

    The user's own text (`purpose`, `ref`) gets no quote.
    """
    if not isinstance(value, str):
        return value
    text = one_line(value, _LONGEST)
    is_formula = len(text) > 1 and text[0] in "=+-@" and name not in ("purpose", "ref")
    return f"'{text}" if is_formula else text


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
            "Start": lambda b: period.shown(b.begin),
            ">Time": lambda b: duration(b.seconds),
            ">Spend": lambda b: units.coin(b.spend),
            ">Fees": lambda b: units.coin(b.fees),
            ">Total": lambda b: units.coin(b.total),
            "Coin": lambda b: units.short(b.intent.currency),
            ">USD": lambda b: _usd(b.total_usd),
            "State": lambda b: (b.state == "ended" and b.intent.reason) or b.state,
        },
        spare=["Type", "Fees", "Spend", "Ref", "Server", "Purpose", "Start"],
    )


def _table_of_sums(by: By, sums: list[Sum]) -> None:
    day = f"Day ({period.zone()})"
    title = {"day": day, "gpu": "GPU", "purpose": "Purpose", "server": "Server"}[by]
    output.rows(
        sums,
        {
            title: lambda s: s.key,
            ">Orders": lambda s: s.orders,
            ">Time": lambda s: duration(s.seconds),
            ">Spend": lambda s: units.coin(s.spend),
            ">Fees": lambda s: units.coin(s.fees),
            ">Total": lambda s: units.coin(s.total),
            "Coin": lambda s: units.short(s.currency),
            ">USD": lambda s: _usd(s.usd),
        },
        spare=["Fees", "Spend"],
    )


def _print_total(total: list[Sum]) -> None:
    if not total:
        return
    coins = ", ".join(f"{units.coin(s.total)} {units.short(s.currency)}" for s in total)
    known = [s.usd for s in total if s.usd is not None]
    usd = f"= ${sum(known):.2f}" if known else "USD -"
    count, seconds = sum(s.orders for s in total), sum(s.seconds for s in total)
    text = f"Total: {counted(count, 'order')}, {duration(seconds)}, {coins} {usd}"
    unknown, unpriced = sum(s.unknown for s in total), sum(s.usd_unknown for s in total)
    if unknown:
        text += f"; without {unknown} whose spend is not known"
    if unpriced > unknown:
        text += f"; USD without {unpriced - unknown} whose coin's worth is not known"
    output.note(f"{text}.", bold=True)


def _print_wallet(wallet: Wallet) -> None:
    coin = units.short(wallet.currency)
    if not wallet.fell and not wallet.explained:
        return
    moved = "fell" if wallet.fell >= 0 else "rose"
    text = (
        f"Wallet {coin}: {moved} by {units.coin(abs(wallet.fell))} since "
        f"{period.shown(wallet.since)}; the orders explain {units.coin(wallet.explained)}"
    )
    if wallet.unexplained is None:
        output.note(f"{text}.")
    elif wallet.unexplained > 0:
        output.note(
            f"{text}, {units.coin(wallet.unexplained)} less: a withdrawal, or orders that are not "
            "in the ledger (clore orphans)."
        )
    else:
        output.note(
            f"{text}, {units.coin(-wallet.unexplained)} more: a deposit, earnings, or lower fees."
        )


def _usd(amount: float | None) -> str:
    return "-" if amount is None else f"{amount:.2f}" if amount >= 1 else f"{amount:.4f}"
