"""`clore lease`: when orders end, and another end for one of them."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import click

from clore_ai._values.lengths import duration
from clore_ai.cli import other_keys, output
from clore_ai.cli.account import connect, none, status
from clore_ai.cli.options.length import Length

if TYPE_CHECKING:
    from clore_ai.models.records import Intent


@click.group(invoke_without_command=True)
@output.json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> int:
    """Show or change when your orders end.

    The service has no leases. The command that watches an order cancels it when its lease ends; for
    other orders a background process does so.
    """
    if ctx.invoked_subcommand is not None:
        return 0
    from clore_ai._api.steps import clock
    from clore_ai.rental.orders import reconcile

    with connect() as api:
        rows = api.drive(reconcile.orders(api.session, include_completed=True))
        now = api.drive(clock()).wall
        kept = {i.order_id: i for i in api.ledger.running()}
        orders = [order for order in rows if order.active]
        if not orders:
            other_keys.note(api)
    if as_json:
        output.data([_row(order.id, kept.get(order.id), now) for order in orders])
    elif not orders:
        return none(api, "No active orders.")
    else:
        output.table(
            [">ID", ">Server", "Ends", ">Left", ">At most $"],
            [
                [str(order.id), str(order.server_id or "-"), *_cells(kept.get(order.id), now)]
                for order in orders
            ],
        )
    return status(api)


@command.command()
@click.argument("order_id", type=int)
@click.argument("lease_s", type=Length(endless=True), metavar="LENGTH")
@output.json_option
def extend(order_id: int, lease_s: float, as_json: bool) -> None:
    """Extend the lease of an order.

    Adds LENGTH (30m, 6h, 2d) to the end of the lease of ORDER_ID, or to the current time if the
    lease has ended.
    """
    _change(order_id, lease_s, more=True, as_json=as_json)


@command.command("set")
@click.argument("order_id", type=int)
@click.argument("lease_s", type=Length(endless=True), metavar="LENGTH")
@output.json_option
def set_(order_id: int, lease_s: float, as_json: bool) -> None:
    """Set how long an order may still run.

    LENGTH is 90s, 30m, 6h, 2d or none, from now. ORDER_ID may have been rented elsewhere.
    """
    _change(order_id, lease_s, more=False, as_json=as_json)


def _change(order_id: int, lease_s: float, *, more: bool, as_json: bool) -> None:
    from clore_ai._api.steps import clock
    from clore_ai.rental.limits import extend

    if more and lease_s == inf:
        raise click.UsageError(f"To remove the end: clore lease set {order_id} none")
    with connect() as api:
        length = None if lease_s == inf else lease_s
        intent = api.drive(extend.change(api.session, order_id, length, more=more))
        now = api.drive(clock()).wall
    if as_json:
        output.data(_row(order_id, intent, now))
        return
    end, left, _ = _cells(intent, now)
    end = "has no end of its own" if intent.ends_at is None else f"ends at {end}, in {left}"
    output.note(f"Order {order_id} {end}.")


def _cells(intent: Intent | None, now: float) -> tuple[str, str, str]:
    from clore_ai.rental.spend.lease import moment

    most = "-" if intent is None or intent.max_cost_usd is None else f"{intent.max_cost_usd:.2f}"
    if intent is None or intent.ends_at is None:
        return "-", "-", most
    left = intent.ends_at - now
    return moment(intent.ends_at), duration(left) if left > 0 else "over", most


def _row(order_id: int, intent: Intent | None, now: float) -> dict[str, Any]:
    ends_at = None if intent is None else intent.ends_at
    return {
        "order_id": order_id,
        "ends_at": ends_at,
        "left_s": None if ends_at is None else ends_at - now,
        "max_cost_usd": None if intent is None else intent.max_cost_usd,
    }
