"""`clore orphans`: what runs that the ledger does not know, and the reverse."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from clore_ai.cli import _output, _units
from clore_ai.cli._account import connect

if TYPE_CHECKING:
    from clore_ai.client import CloreAI
    from clore_ai.rental.orphans import Orphans

_SOME = 1


@click.command()
@click.option("--adopt", metavar="ID|all", help="Take this order, or all, into the ledger.")
@click.option("--check", is_flag=True, help="Exit 1 where there are any, for scripts.")
@_output.json_option
def command(*, adopt: str | None, check: bool, as_json: bool) -> int:
    """Show orders that the ledger does not know, and the reverse.

    Such an order was rented elsewhere, with the same key: on the web site, on another machine, by a
    program without the ledger. It is billed all the same.
    """
    if adopt is not None and adopt != "all" and not (adopt.isascii() and adopt.isdigit()):
        raise click.UsageError(f"--adopt {adopt!r}: give an order's id, or all.")
    from clore_ai.rental import orphans  # noqa: PLC0415 - not for --help

    with connect(ask=False) as api:
        if adopt is not None:
            _adopt(api, None if adopt == "all" else int(adopt))
        found = api.drive(orphans.orphans(api.session))
    rows = _rows(found)
    if as_json:
        _output.data(rows)
    elif not rows:
        _output.note("None: the ledger and your orders agree.")
    else:
        _show(rows)
    return _SOME if check and rows else 0


def _adopt(api: CloreAI, order_id: int | None) -> None:
    from clore_ai.rental import orphans  # noqa: PLC0415 - not for --help

    taken = api.drive(orphans.take_in(api.session, order_id))
    for intent in taken:
        _output.note(f"In the ledger from now on: order {intent.order_id}.", bold=True)
    if order_id is not None and not taken:
        _output.note(f"Order {order_id} is in the ledger; it goes on.")


def _rows(found: Orphans) -> list[dict[str, Any]]:
    now = time.time()
    unknown = [
        {
            "order_id": o.id,
            "server_id": o.server_id,
            "gpu": o.gpu_model,
            "seconds": None if o.ct is None else now - o.ct,
            "spend": o.spend,
            "currency": o.currency,
            "problem": "not in the ledger",
        }
        for o in found.unknown
    ]
    missing = [
        {
            "order_id": i.order_id,
            "server_id": i.server_id,
            "gpu": i.gpu,
            "seconds": None if i.started_at is None else (i.seen_at or now) - i.started_at,
            "spend": i.spend,
            "currency": i.currency,
            "problem": "not listed by the service",
        }
        for i in found.missing
    ]
    return unknown + missing


def _show(rows: list[dict[str, Any]]) -> None:
    _output.table(
        [">ID", ">Server", "GPU", ">Time", ">Spent", "Coin", "Problem"],
        [
            [
                str(r["order_id"]),
                str(r["server_id"] or "-"),
                _units.gpu(r["gpu"]),
                _units.duration(r["seconds"]),
                _units.coin(r["spend"]),
                _units.SHORT.get(r["currency"] or "", r["currency"] or "-"),
                r["problem"],
            ]
            for r in rows
        ],
        spare=["Server", "Time"],
    )
    if any(r["problem"] == "not in the ledger" for r in rows):
        _output.note("Keep it: clore orphans --adopt ID   Stop paying: clore cancel ID")
