"""`clore servers` (004, CLI Reference)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from clore_ai.cli import output, units
from clore_ai.cli.account import connect

if TYPE_CHECKING:
    from clore_ai.models import MyServer


@click.command()
@output.json_option
def command(as_json: bool) -> None:
    """List the servers that you host.

    Prices are per DAY, in the coin named or in USD. "Rented for" is the time until the rental ends.
    """
    from clore_ai._api.steps import clock

    with connect() as api:
        servers = api.my_servers()
        now = api.drive(clock()).wall
    if as_json:
        output.data([_row(s) for s in servers])
        return
    if not servers:
        output.note("You host no servers.")
        return
    output.table(
        [">ID", "Name", "GPU", ">GPUs", ">RAM", "Status", "Visibility", ">Rented for",
         "On-demand per day", ">$/day"],
        [
            [
                "-" if s.id is None else str(s.id),
                s.name or "-",
                s.gpu_model or "-",
                str(s.gpu_count or "-"),
                "-" if s.ram_gb is None else f"{s.ram_gb:.0f}G",
                s.status,
                s.visibility or "-",
                _rented_for(s, now),
                ", ".join(f"{units.coin(p)} {c}" for c, p in (s.pricing or {}).items()) or "-",
                "-" if s.on_demand_price is None else f"{s.on_demand_price:.2f}",
            ]
            for s in servers
        ],
        spare=["RAM", "Visibility", "GPUs", "$/day"],
    )  # fmt: skip


def _row(server: MyServer) -> dict[str, Any]:
    """A server for ``--json``, with what is derived."""
    return server.model_dump() | {
        "status": server.status,
        "rental_end": units.iso(server.rental_end),
    }


def _rented_for(server: MyServer, now: float) -> str:
    left = units.until(server.rental_end, now)
    return "yes" if left == "-" and server.rented else left
