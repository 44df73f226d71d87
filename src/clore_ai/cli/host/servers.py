"""`clore servers` (004, CLI Reference)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from clore_ai.cli import output, units
from clore_ai.cli.account import connect, now
from clore_ai.models import price as prices

if TYPE_CHECKING:
    from clore_ai.models import MyServer


@click.command()
@output.json_option
def command(as_json: bool) -> None:
    """List the servers that you host.

    Prices are per DAY, in the coin named or in USD. "Rented for" is the time until the rental ends.
    """
    with connect() as api:
        servers = api.my_servers()
        at = now(api)
    if as_json:
        output.data(servers)
        return
    if not servers:
        output.note("You host no servers.")
        return
    output.rows(
        servers,
        {
            ">ID": lambda s: s.id,
            "Name": lambda s: s.name,
            "GPU": lambda s: s.gpu_model,
            ">GPUs": lambda s: s.gpu_count or None,
            ">RAM": lambda s: units.gb(s.ram_gb),
            "Status": lambda s: s.status,
            "Visibility": lambda s: s.visibility,
            ">Rented for": lambda s: _rented_for(s, at),
            "On-demand per day": lambda s: prices.coins(s.pricing),
            ">$/day": lambda s: prices.columns(s.on_demand_price)[1],
        },
        spare=["RAM", "Visibility", "GPUs", "$/day"],
    )


def _rented_for(server: MyServer, now: float) -> str:
    left = units.until(server.rental_end, now)
    return "yes" if left == "-" and server.rented else left
