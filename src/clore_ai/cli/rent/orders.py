"""`clore orders` (004, CLI Reference)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from clore_ai._values.lengths import duration
from clore_ai.cli import other_keys, output, units
from clore_ai.cli.account import connect, none, status

if TYPE_CHECKING:
    from clore_ai.client import CloreAI
    from clore_ai.models import Order


@click.command()
@click.option("--completed", is_flag=True, help="Orders that ended too.")
@output.json_option
def command(completed: bool, as_json: bool) -> int:
    """List your orders.

    What runs, what it costs without fees, how to reach it.
    """
    from clore_ai._api.steps import clock
    from clore_ai.rental.orders import reconcile

    with connect() as api:
        orders = api.my_orders(include_completed=completed)
        rates = rates_of(api, orders)
        now = api.drive(clock()).wall
        why = reconcile.reasons(api.session, orders)
        if not orders:
            other_keys.note(api)
    usd_h = {o.id: usd_per_hour(o, rates) for o in orders}
    if as_json:
        output.data([row(o, usd_h[o.id]) | {"why": why.get(o.id)} for o in orders])
        return status(api)
    if not orders:
        return none(
            api, "No orders." if completed else "No active orders (ended ones: --completed)."
        )
    output.table(
        [">ID", ">Server", "GPU", "Type", "Status", ">Price/day", ">$/h", ">$/day", ">Spent",
         "Coin", ">Time", "SSH"],
        [
            [
                str(o.id),
                str(o.server_id or "-"),
                units.gpu(o.gpu_model),
                o.type or "-",
                why.get(o.id) or o.status or "-",
                units.coin(o.price),
                *_both(usd_h[o.id]),
                units.coin(o.spend),
                units.SHORT.get(o.currency or "", o.currency or "-"),
                "-" if o.ct is None else duration((o.order_end or now) - o.ct),
                units.address(o) if o.active else "-",
            ]
            for o in orders
        ],
        spare=["SSH", "Type", "Price/day", "Server", "Time"],
    )  # fmt: skip
    if any(o.active for o in orders):
        output.note("Open a shell: clore ssh ID. Stop paying: clore cancel ID")
    return status(api)


def rates_of(api: CloreAI, orders: list[Order]) -> dict[str, float]:
    """USD a coin, asked for only where an order that runs is paid in a coin of unknown worth."""
    from clore_ai.rental.market import listing

    unknown = [o for o in orders if o.active and o.price and o.price_usd_per_hour is None]
    return api.drive(listing.currency_rates(api.session, unknown[0].server_id)) if unknown else {}


def usd_per_hour(order: Order, rates: dict[str, float]) -> float | None:
    """What an order costs, USD per hour without fees; None where unknown."""
    rate = rates.get(order.currency or "")
    if order.price_usd_per_hour is not None or order.price is None or rate is None:
        return order.price_usd_per_hour
    return order.price * rate / 24


def _both(per_h: float | None) -> tuple[str, str]:
    return ("-", "-") if per_h is None else (f"{per_h:.4f}", f"{per_h * 24:.2f}")


def row(order: Order, usd_per_hour: float | None) -> dict[str, Any]:
    """An order for ``--json``, with what is derived."""
    return order.model_dump() | {
        "active": order.active,
        "ssh_host": order.ssh_host,
        "ssh_port": order.ssh_port,
        "ssh_command": order.ssh_command,
        "http_url": order.http_url,
        "price_usd_per_hour": usd_per_hour,
        "price_usd_per_day": None if usd_per_hour is None else usd_per_hour * 24,
    }
