"""`clore lease`: shows when orders end, and changes an order's end."""

from __future__ import annotations

from math import inf

import click

from clore_ai.cli import other_keys, output, units
from clore_ai.cli.account import connect, none, status
from clore_ai.cli.options.length import Length
from clore_ai.rental.spend.lease import moment


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
    with connect() as api:
        found = api.leases()
        if not found:
            other_keys.note(api)
    if as_json:
        output.data(found)
    elif not found:
        return none(api, "No active orders.")
    else:
        output.rows(
            found,
            {
                ">ID": lambda e: e.order_id,
                ">Server": lambda e: e.server_id or None,
                "Ends": lambda e: e.ends_at and moment(e.ends_at),
                ">Left": lambda e: units.left(e.left_s),
                ">At most $": lambda e: e.max_cost_usd and f"{e.max_cost_usd:.2f}",
            },
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
    if more and lease_s == inf:
        raise click.UsageError(f"To remove the end: clore lease set {order_id} none")
    with connect() as api:
        if more:
            new = api.extend_lease(order_id, lease_s / 3600)
        else:
            new = api.set_lease(order_id, None if lease_s == inf else lease_s / 3600)
    if as_json:
        output.data(new)
    elif new.ends_at is None:
        output.note(f"Order {order_id} has no end of its own.")
    else:
        output.note(f"Order {order_id} ends at {moment(new.ends_at)}, in {units.left(new.left_s)}.")
