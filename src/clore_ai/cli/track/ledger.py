"""`clore ledger`: what was rented, for how long, what it cost."""

from __future__ import annotations

import csv
import io
import math
import time
from typing import TYPE_CHECKING, Any

import click

from clore_ai._values.lengths import duration
from clore_ai._values.text import one_line
from clore_ai.cli import other_keys, output, units
from clore_ai.cli.account import connect
from clore_ai.cli.options import period

if TYPE_CHECKING:
    from clore_ai.client import CloreAI
    from clore_ai.models.records import Intent
    from clore_ai.rental.spend.bill import Bill, Sum, Wallet

_LONGEST = 4_000
_COLUMNS = (
    "order_id", "server_id", "gpu", "type", "purpose", "ref", "start", "end", "seconds", "spend",
    "fees", "total", "currency", "usd", "state", "reason", "seen_at",
)  # fmt: skip
_SUM_COLUMNS = (
    "key", "orders", "seconds", "spend", "fees", "total", "currency", "usd", "unknown",
    "usd_unknown",
)  # fmt: skip


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
    by: str | None,
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
    with connect() as api:
        bills, lost = _read(api, begin, end, offline=offline)
        if not bills:
            other_keys.note(api, ended=True)
    from clore_ai.rental.spend import bill

    sums = bill.add_up(_keyed(bills, by, begin, end)) if by else []
    total = bill.add_up(("total", each) for each in bills)
    if as_json:
        output.data(
            ({"by": by, "sums": [_sum_row(s) for s in sums]} if by else
             {"orders": [_row(b) for b in bills]})
            | {"total": [_sum_row(s) for s in total], "wallets": [_wallet_row(w) for w in lost]}
        )  # fmt: skip
        return
    if as_csv:
        if by:
            _csv(_SUM_COLUMNS, [_sum_row(s) for s in sums])
        else:
            _csv(_COLUMNS, [_row(b) for b in bills])
        return
    if not bills:
        output.note("Nothing was rented" + (" in this time." if since or until else " yet."))
    elif by:
        _table_of_sums(by, sums)
    else:
        _table(bills)
    _say_total(total)
    for wallet in lost:
        _say_wallet(wallet)


def _read(
    api: CloreAI, begin: float, end: float, *, offline: bool
) -> tuple[list[Bill], list[Wallet]]:
    from clore_ai.exceptions import (
        AuthError,
        DBError,
        RateLimitError,
        ResponseError,
        TransportError,
    )
    from clore_ai.models.price import Rates
    from clore_ai.rental.market import rates as worth
    from clore_ai.rental.spend import bill

    if not api.session.rules.has_key:
        raise AuthError("The ledger is kept per API key, and none is set.")
    rates = Rates()
    intents = [i for i in api.ledger.intents() if i.state != "refused"]
    if not offline:
        try:
            api.my_orders(include_completed=True)
            api.wallets()
            intents = [i for i in api.ledger.intents() if i.state != "refused"]
            foreign = [i for i in intents if bill.bill(i, 0, rates).usd_per_coin is None]
            if foreign:
                rates = api.drive(worth.ask(api.session, foreign[0].server_id))
        except (DBError, RateLimitError, ResponseError, TransportError) as exc:
            output.note(f"Shown as last seen, since the service can't be queried: {exc}")
    whole = [bill.bill(intent, time.time(), rates) for intent in intents]
    bills = [part for each in whole if (part := bill.within(each, begin, end)) is not None]
    balances = [b for b in api.ledger.balances() if begin <= b.at < end]
    return bills, bill.wallets(balances, whole)


def _keyed(bills: list[Bill], by: str | None, begin: float, end: float) -> list[tuple[str, Bill]]:
    from clore_ai.rental.spend import bill

    if by == "day":
        if not bills:
            return []
        first = max(begin, min(b.begin for b in bills))
        last = min(end, max(max(b.end, b.begin + b.seconds) for b in bills))
        return [
            (day, part)
            for day, start, stop in period.days(first, last)
            for each in bills
            if (part := bill.within(each, start, stop)) is not None
        ]
    return sorted(((_key(each.intent, by), each) for each in bills), key=lambda pair: pair[0])


def _key(intent: Intent, by: str | None) -> str:
    if by == "gpu":
        return units.gpu(intent.gpu)
    return intent.purpose or "-" if by == "purpose" else str(intent.server_id)


def _row(each: Bill) -> dict[str, Any]:
    intent = each.intent
    values = (
        intent.order_id, intent.server_id, intent.gpu, intent.type, intent.purpose,
        intent.client_ref, intent.started_at or intent.posted_at, intent.ended_at, each.seconds,
        each.spend, each.fees, each.total, intent.currency, each.total_usd, _state(each),
        intent.reason, intent.seen_at,
    )  # fmt: skip
    return dict(zip(_COLUMNS, values))


def _state(each: Bill) -> str:
    if each.intent.state != "created":
        return "uncertain"
    return "running" if each.intent.runs else "ended"


def _sum_row(each: Sum) -> dict[str, Any]:
    values = (
        each.key, each.orders, each.seconds, each.spend, each.fees, each.total, each.coin, each.usd,
        each.unknown, each.usd_unknown,
    )  # fmt: skip
    return dict(zip(_SUM_COLUMNS, values))


def _wallet_row(wallet: Wallet) -> dict[str, Any]:
    return {
        "currency": wallet.coin,
        "since": wallet.since,
        "until": wallet.until,
        "fell": wallet.fell,
        "explained": wallet.explained,
        "unexplained": wallet.unexplained,
    }


def _csv(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    out = csv.DictWriter(text, columns, lineterminator="\n")
    out.writeheader()
    out.writerows({name: _cell(name, value) for name, value in row.items()} for row in rows)
    click.echo(text.getvalue(), nl=False)


def _cell(name: str, value: object) -> object:
    """A text on one line; one of the service's that a spreadsheet would take for a formula is not.

    What the user wrote (`purpose`, `ref`) stays as it is written.
    """
    if not isinstance(value, str):
        return value
    text = one_line(value, _LONGEST)
    is_formula = len(text) > 1 and text[0] in "=+-@" and name not in ("purpose", "ref")
    return f"'{text}" if is_formula else text


def _table(bills: list[Bill]) -> None:
    output.table(
        [">ID", ">Server", "GPU", "Type", "Purpose", "Ref", "Start", ">Time", ">Spend", ">Fees",
         ">Total", "Coin", ">USD", "State"],
        [
            [
                str(b.intent.order_id or "-"),
                str(b.intent.server_id),
                units.gpu(b.intent.gpu),
                b.intent.type,
                b.intent.purpose or "-",
                b.intent.client_ref or "-",
                period.shown(b.begin),
                duration(b.seconds),
                units.coin(b.spend),
                units.coin(b.fees),
                units.coin(b.total),
                units.SHORT.get(b.intent.currency, b.intent.currency or "-"),
                _usd(b.total_usd),
                b.intent.reason if _state(b) == "ended" and b.intent.reason else _state(b),
            ]
            for b in bills
        ],
        spare=["Type", "Fees", "Spend", "Ref", "Server", "Purpose", "Start"],
    )  # fmt: skip


def _table_of_sums(by: str, sums: list[Sum]) -> None:
    day = f"Day ({period.zone()})"
    title = {"day": day, "gpu": "GPU", "purpose": "Purpose", "server": "Server"}[by]
    output.table(
        [title, ">Orders", ">Time", ">Spend", ">Fees", ">Total", "Coin", ">USD"],
        [[s.key, str(s.orders), *_cells(s)] for s in sums],
        spare=["Fees", "Spend"],
    )


def _cells(each: Sum) -> list[str]:
    return [
        duration(each.seconds),
        units.coin(each.spend),
        units.coin(each.fees),
        units.coin(each.total),
        units.SHORT.get(each.coin, each.coin or "-"),
        _usd(each.usd),
    ]


def _say_total(total: list[Sum]) -> None:
    if not total:
        return
    coins = ", ".join(f"{units.coin(s.total)} {units.SHORT.get(s.coin, s.coin)}" for s in total)
    known = [s.usd for s in total if s.usd is not None]
    usd = f"= ${sum(known):.2f}" if known else "USD -"
    count, seconds = sum(s.orders for s in total), sum(s.seconds for s in total)
    orders = "1 order" if count == 1 else f"{count} orders"
    text = f"Total: {orders}, {duration(seconds)}, {coins} {usd}"
    unknown, unpriced = sum(s.unknown for s in total), sum(s.usd_unknown for s in total)
    if unknown:
        text += f"; without {unknown} whose spend is not known"
    if unpriced > unknown:
        text += f"; USD without {unpriced - unknown} whose coin's worth is not known"
    output.note(f"{text}.", bold=True)


def _say_wallet(wallet: Wallet) -> None:
    coin = units.SHORT.get(wallet.coin, wallet.coin)
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
