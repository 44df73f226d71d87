"""`clore orders` (004, CLI Reference)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from clore_ai.cli import _output, _units

if TYPE_CHECKING:
    from clore_ai.models import Order

SECRETS = {"ssh_password", "ssh_key", "jupyter_token", "env", "command"}


@click.command()
@click.option("--completed", is_flag=True, help="Orders that ended too.")
@_output.json_option
def command(completed: bool, as_json: bool) -> None:  # noqa: FBT001 - options
    """List your orders: what runs, what it costs, how to reach it."""
    from clore_ai.client import CloreAI  # noqa: PLC0415 - not for --help

    with CloreAI() as api:
        orders = api.my_orders(include_completed=completed)
    if as_json:
        _output.data([row(o) for o in orders])
        return
    if not orders:
        _output.note("No orders." if completed else "No active orders (ended ones: --completed).")
        return
    now = time.time()
    _output.table(
        [">ID", ">Server", "GPU", "Type", "Status", ">Price/day", ">$/h", ">$/day", ">Spent",
         "Coin", ">Age", "SSH"],
        [
            [
                str(o.id),
                str(o.server_id or "-"),
                (o.gpu_model or "-").strip().replace("NVIDIA ", "").replace("GeForce ", ""),
                o.type or "-",
                o.status or "-",
                _units.coin(o.price),
                _units.usd_h(o.price_usd_per_hour),
                _units.usd_day(o.price_usd_per_hour),
                _units.coin(o.spend),
                o.currency or "-",
                "-" if o.ct is None else _units.duration((o.order_end or now) - o.ct),
                (f"{o.ssh_host}:{o.ssh_port}" if o.ssh_port else "-") if o.active else "-",
            ]
            for o in orders
        ],
    )  # fmt: skip
    if any(o.active for o in orders):
        _output.note("Open a shell: clore ssh ID. Stop paying: clore cancel ID")


def row(order: Order) -> dict[str, Any]:
    """An order for ``--json``: without its secrets, with what is derived."""
    return order.model_dump(exclude=SECRETS) | {
        "active": order.active,
        "ssh_host": order.ssh_host,
        "ssh_port": order.ssh_port,
        "ssh_command": order.ssh_command,
        "http_url": order.http_url,
        "price_usd_per_hour": order.price_usd_per_hour,
        "price_usd_per_day": order.price_usd_per_day,
    }
