"""`clore rent`: finds, rents and verifies a server that fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from clore_ai.cli import output, plans
from clore_ai.cli.account import connect
from clore_ai.cli.options import limits, order_options, wishes
from clore_ai.cli.rent import renting

if TYPE_CHECKING:
    from clore_ai.rental.rent.attempt import Rented


@click.command()
@wishes.options
@order_options.options("--command", "--jupyter-token")
@click.option("--top", type=click.IntRange(1), metavar="N",
              help="Show the N best offers in the plan.")  # fmt: skip
@output.yes_option
@click.option("--detach", is_flag=True,
              help="With --max-bid: exit once the server is rented and leave the bid "
                  "unchanged.")  # fmt: skip
@output.dry_run_option
@output.json_option
def command(**options: Any) -> None:  # noqa: ANN401 - click's options, all read below
    """Rent the best matching server and check that it works.

    By default, the best server is the one with the lowest real cost, fees included. A server counts
    as rented when SSH logs in and nvidia-smi shows the promised GPUs; otherwise its order is
    cancelled and the next server is tried. Only the order's id goes to stdout. With --max-bid, the
    bid is then kept at the lowest that wins, as `clore spot auto` does, until Ctrl-C.
    """
    wish = wishes.read(options)
    holds = wish.max_bid_usd is not None and not options["detach"]
    if options["detach"] and wish.max_bid_usd is None:
        raise click.UsageError("--detach goes with --spot --max-bid: without, nothing is held.")
    with connect() as api:
        by = limits.BY_HOLD if holds and not options["dry_run"] else None
        offers = renting.planned(api, wish, options, by)
        if options["dry_run"]:
            if options["as_json"]:
                output.data(offers[: options["top"] or wish.attempts])
            return
        rented = renting.go(api, wish, offers, holds=holds)
        try:
            _report(rented, as_json=options["as_json"], holds=holds)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(plans.goes_on(rented.order.id)) from None
        if holds and rented.order.active:
            from clore_ai.cli.spot import steer

            steer.hold(api, rented.order.id, wish.most_usd_per_hour, options["as_json"])


def _report(rented: Rented, *, as_json: bool, holds: bool) -> None:
    """Print the order's id (its row with --json) and the next commands; `holds`: lines follow."""
    from clore_ai.rental.reports.orders import row

    order = rented.order
    if as_json:
        offer = rented.offer
        facts = row(order, None if offer is None else offer.cost.price)
        if holds:
            output.event({"event": "order", "order_id": order.id, "order": facts})
        else:
            output.data(facts)
    else:
        output.line(order.id)
    plans.use(order, ssh=bool(order.ssh_port or rented.target))
