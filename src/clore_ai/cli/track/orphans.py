"""`clore orphans`: running orders that the ledger does not know, and the reverse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from clore_ai._values.lengths import duration
from clore_ai.cli import output, units
from clore_ai.cli.account import connect, none, status
from clore_ai.models import price as prices

if TYPE_CHECKING:
    from clore_ai import CloreAI
    from clore_ai._state.ledger import Elsewhere
    from clore_ai.rental.reports.orphans import Orphan

_SOME = 1


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
    with connect(ask=False) as api:
        if close is not None:
            _close(api, close, yes=yes)
            return 0
        if adopt is not None:
            _adopt(api, None if adopt == "all" else int(adopt))
        found = api.orphans()
    rows = found.mine + found.others
    if as_json:
        output.data(rows)
    else:
        if rows:
            _show(rows)
        if not found.mine:
            none(api, "None: the ledger and your orders agree.")
        _budgets(found.elsewhere)
    return _SOME if check and found.mine else status(api)


def _adopt(api: CloreAI, order_id: int | None) -> None:
    taken = api.adopt(order_id)
    for intent in taken:
        output.note(f"Added to the ledger: order {intent.order_id}.", bold=True)
    if order_id is not None and not taken:
        output.note(f"Order {order_id} is in the ledger; it goes on.")


def _close(api: CloreAI, number: int, *, yes: bool) -> None:
    from clore_ai.rental.orders import orphans
    from clore_ai.rental.reports.orphans import key

    intent, each = orphans.record(api.ledger, number)
    what = f"order {intent.order_id}" if intent.order_id else "an order that may exist"
    under = f", under {key(each)}" if each else ""
    output.agree(
        "Close it?",
        "the record stays",
        yes=yes,
        why=f"Record {number} is of {what} on server {intent.server_id}{under}. If it still runs, "
        "it is still billed; closing the record cancels nothing.",
    )
    api.drive(orphans.close(api.session, number))
    output.note(f"Closed: record {number}, of {what}.", bold=True)


def _show(rows: list[Orphan]) -> None:
    from clore_ai.rental.reports.orphans import UNKNOWN

    output.rows(
        rows,
        {
            ">ID": lambda r: r.order_id or None,
            ">Record": lambda r: r.record or None,
            ">Server": lambda r: r.server_id or None,
            "GPU": lambda r: units.gpu(r.gpu),
            ">Time": lambda r: duration(r.seconds),
            ">Spent": lambda r: prices.coin(r.spend),
            "Coin": lambda r: prices.short(r.currency),
            "Problem": lambda r: r.problem,
        },
        spare=["Server", "Time", "GPU", "Coin"],
    )
    if any(r.problem == UNKNOWN for r in rows):
        output.note("Keep it: clore orphans --adopt ID   Stop paying: clore cancel ID")
    if any(r.record for r in rows):
        output.note(
            "If its marketplace or key is gone, and it certainly costs nothing any more: "
            "clore orphans --close RECORD"
        )


def _budgets(elsewhere: list[Elsewhere]) -> None:
    from clore_ai.rental.reports.orphans import key, place
    from clore_ai.rental.spend.budget import shown

    for each in elsewhere:
        for budget in each.budgets:
            output.note(
                f"Under {key(each)}{place(each)} there is a budget of {shown(budget)}; it "
                "does not apply to this key. Set one: clore budget set"
            )
