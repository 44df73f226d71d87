"""`clore orphans`: what runs that the ledger does not know, and the reverse."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from clore_ai._values.lengths import duration
from clore_ai.cli import other_keys, output, units
from clore_ai.cli.account import connect, none, status

if TYPE_CHECKING:
    from clore_ai.client import CloreAI
    from clore_ai.models.records import Intent
    from clore_ai.rental.orders.orphans import Orphans

_SOME = 1
_UNKNOWN = "not in the ledger"


@click.command()
@click.option(
    "--adopt", metavar="ID|all", help="Add this order, or all such orders, to the ledger."
)
@click.option("--close", type=click.IntRange(1), metavar="RECORD",
              help="Close a record whose marketplace or key is gone; cancels nothing.")  # fmt: skip
@click.option("-y", "--yes", is_flag=True,
              help="Don't ask before --close; required without a terminal.")  # fmt: skip
@click.option("--check", is_flag=True, help="Exit with 1 if there are any, for scripts.")
@output.json_option
def command(*, adopt: str | None, close: int | None, yes: bool, check: bool, as_json: bool) -> int:
    """Compare the ledger with the orders of your account.

    An order that is not in the ledger was rented elsewhere with the same account: on the web site,
    on another machine, or by a program without the ledger. It is billed like any other order.
    Orders of other keys and marketplaces that may still run are listed below; --check does not
    count them.
    """
    if adopt is not None and adopt != "all" and not (adopt.isascii() and adopt.isdigit()):
        raise click.UsageError(f"--adopt {adopt!r}: give an order's id, or all.")
    if adopt is not None and close is not None:
        raise click.UsageError("Give only one of --adopt and --close.")
    from clore_ai.rental.orders import orphans

    with connect(ask=False) as api:
        if close is not None:
            _close(api, close, yes=yes)
            return 0
        if adopt is not None:
            _adopt(api, None if adopt == "all" else int(adopt))
        found = api.drive(orphans.orphans(api.session))
    mine, others = _mine(found), _elsewhere(found)
    if as_json:
        output.data(mine + others)
    else:
        if mine + others:
            _show(mine + others)
        if not mine:
            none(api, "None: the ledger and your orders agree.")
        _budgets(found)
    return _SOME if check and mine else status(api)


def _adopt(api: CloreAI, order_id: int | None) -> None:
    from clore_ai.rental.orders import orphans

    taken = api.drive(orphans.take_in(api.session, order_id))
    for intent in taken:
        output.note(f"Added to the ledger: order {intent.order_id}.", bold=True)
    if order_id is not None and not taken:
        output.note(f"Order {order_id} is in the ledger; it goes on.")


def _close(api: CloreAI, number: int, *, yes: bool) -> None:
    from clore_ai.rental.orders import orphans

    intent, each = orphans.record(api.ledger, number)
    what = f"order {intent.order_id}" if intent.order_id else "an order that may exist"
    under = f", under {other_keys.key(each)}" if each else ""
    output.agree(
        "Close it?",
        "the record stays",
        yes=yes,
        why=f"Record {number} is of {what} on server {intent.server_id}{under}. If it still runs, "
        "it is still billed; closing the record cancels nothing.",
    )
    api.drive(orphans.close(api.session, number))
    output.note(f"Closed: record {number}, of {what}.", bold=True)


def _mine(found: Orphans) -> list[dict[str, Any]]:
    now = time.time()
    unknown = [
        {
            "order_id": o.id,
            "record": None,
            "server_id": o.server_id,
            "gpu": o.gpu_model,
            "seconds": None if o.ct is None else now - o.ct,
            "spend": o.spend,
            "currency": o.currency,
            "problem": _UNKNOWN,
        }
        for o in found.unknown
    ]
    return unknown + [_row(i, now, "not listed by the service") for i in found.missing]


def _elsewhere(found: Orphans) -> list[dict[str, Any]]:
    now = time.time()
    rows: list[dict[str, Any]] = []
    for each in found.elsewhere:
        place = f" of {each.account.place}" if each.account.place else ""
        under = f"under {other_keys.key(each)}{place}"
        rows += [_row(i, now, under) for i in each.running]
        rows += [_row(i, now, f"may exist, {under}") for i in each.unsettled]
    return rows


def _row(intent: Intent, now: float, problem: str) -> dict[str, Any]:
    return {
        "order_id": intent.order_id,
        "record": intent.id,
        "server_id": intent.server_id,
        "gpu": intent.gpu,
        "seconds": None
        if intent.started_at is None
        else (intent.seen_at or now) - intent.started_at,
        "spend": intent.spend,
        "currency": intent.currency,
        "problem": problem,
    }


def _show(rows: list[dict[str, Any]]) -> None:
    output.table(
        [">ID", ">Record", ">Server", "GPU", ">Time", ">Spent", "Coin", "Problem"],
        [
            [
                str(r["order_id"] or "-"),
                str(r["record"] or "-"),
                str(r["server_id"] or "-"),
                units.gpu(r["gpu"]),
                duration(r["seconds"]),
                units.coin(r["spend"]),
                units.SHORT.get(r["currency"] or "", r["currency"] or "-"),
                r["problem"],
            ]
            for r in rows
        ],
        spare=["Server", "Time", "GPU", "Coin"],
    )
    if any(r["problem"] == _UNKNOWN for r in rows):
        output.note("Keep it: clore orphans --adopt ID   Stop paying: clore cancel ID")
    if any(r["record"] for r in rows):
        output.note(
            "If its marketplace or key is gone, and it certainly costs nothing any more: "
            "clore orphans --close RECORD"
        )


def _budgets(found: Orphans) -> None:
    from clore_ai.rental.spend.budget import shown

    for each in found.elsewhere:
        for budget in each.budgets:
            place = f" of {each.account.place}" if each.account.place else ""
            output.note(
                f"Under {other_keys.key(each)}{place} there is a budget of {shown(budget)}; it "
                "does not apply to this key. Set one: clore budget set"
            )
