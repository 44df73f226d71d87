"""`clore orders` (004, CLI Reference)."""

from __future__ import annotations

import click

from clore_ai._values.lengths import duration
from clore_ai.cli import other_keys, output, units
from clore_ai.cli.account import connect, none, status
from clore_ai.models import price as prices


@click.command()
@click.option("--completed", is_flag=True, help="Include orders that have ended.")
@output.json_option
def command(completed: bool, as_json: bool) -> int:
    """List your orders.

    Shows the running orders, their cost without fees, and how to reach them.
    """
    from clore_ai.rental.reports.orders import report, row

    with connect() as api:
        found = api.drive(report(api.session, include_completed=completed))
        orders, costs, why = found.orders, found.prices, found.reasons
        if not orders:
            other_keys.note(api)
    if as_json:
        output.data([row(o, costs[o.id]) | {"why": why.get(o.id)} for o in orders])
        return status(api)
    if not orders:
        return none(
            api, "No orders." if completed else "No active orders (ended ones: --completed)."
        )
    cells = {i: prices.columns(price.usd_per_day if price else None) for i, price in costs.items()}
    output.rows(
        orders,
        {
            ">ID": lambda o: o.id,
            ">Server": lambda o: o.server_id or None,
            "GPU": lambda o: units.gpu(o.gpu_model),
            "Type": lambda o: o.type,
            "Status": lambda o: why.get(o.id) or o.status,
            ">Price/day": lambda o: prices.coin(o.price),
            ">$/h": lambda o: cells[o.id][0],
            ">$/day": lambda o: cells[o.id][1],
            ">Spent": lambda o: prices.coin(o.spend),
            "Coin": lambda o: prices.short(o.currency),
            ">Time": lambda o: None if o.ct is None else duration((o.order_end or found.at) - o.ct),
            "SSH": lambda o: o.ssh_address if o.active else None,
        },
        spare=["SSH", "Type", "Price/day", "Server", "Time"],
    )
    if any(o.active for o in orders):
        output.note("Open a shell: clore ssh ID. Stop paying: clore cancel ID")
    return status(api)
