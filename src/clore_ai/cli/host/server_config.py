"""`clore server-config` (004, CLI Reference)."""

from __future__ import annotations

import click

from clore_ai.cli import output, units
from clore_ai.cli.account import connect, now
from clore_ai.models import price as prices


@click.command()
@click.argument("name")
@output.json_option
def command(name: str, as_json: bool) -> None:
    """Show the settings of a server that you host.

    NAME is as `clore servers` shows it. Prices are per DAY, in the coin named or in USD.
    """
    with connect() as api:
        config = api.server_config(name)
        at = now(api)
    if as_json:
        output.data(config)
        return

    rows: list[tuple[str, object]] = [
        ("Name", config.name),
        ("ID", config.id),
        ("Connected", config.connected),
        ("Online", config.online),
        ("Visibility", config.visibility),
        ("Longest rental", None if config.mrl is None else f"{config.mrl} h"),
        ("GPU", config.gpu_model),
        ("Coins", ", ".join(config.allowed_coins or ()) or None),
        ("On-demand", prices.coins(config.pricing, "/day")),
        ("Spot from", prices.coins(config.spot_pricing, "/day")),
        ("On-demand, USD", prices.daily(config.on_demand_price)),
        ("Spot from, USD", prices.daily(config.spot_price)),
        ("Rental ends in", units.until(config.rental_end, at)),
    ]
    output.table(["Setting", "Value"], [[n, "-" if v is None else str(v)] for n, v in rows])
