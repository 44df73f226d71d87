"""`clore deploy` (004, CLI Reference): scripts depend on it, so it asks only on a terminal."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import click

from clore_ai.cli import output, plans
from clore_ai.cli.account import connect, now
from clore_ai.cli.options import bids, limits, order_options
from clore_ai.cli.options.length import Length
from clore_ai.cli.rent import renting
from clore_ai.models import price as prices

if TYPE_CHECKING:
    from pathlib import Path

    from clore_ai import CloreAI
    from clore_ai._api.order_request import OrderRequest
    from clore_ai.models import Order
    from clore_ai.models.records import RentEvent
    from clore_ai.rental.rent.ranking import Offer
    from clore_ai.rental.spend.lease import Limits


@click.command()
@click.argument("server_id", type=int)
@click.option("--image", required=True, help="Docker image, e.g. cloreai/ubuntu22.04-cuda12.")
@click.option("--type", "kind", type=click.Choice(["on-demand", "spot"]), required=True,
              help="Rent at the list price or at your own bid.")  # fmt: skip
@click.option("--currency", required=True,
              help="Coin to pay in: bitcoin, CLORE-Blockchain or USD-Blockchain.")  # fmt: skip
@order_options.options()
@click.option("--spot-price", type=bids.read, metavar="PRICE",
              help="Your bid for the whole server: coin per DAY, or 0.2/h, 4.8/day in "
                  "USD.")  # fmt: skip
@bids.force_option
@limits.options_of_deploy
@click.option("--wait", is_flag=True, help="Wait until SSH answers.")
@click.option("--wait-timeout", type=Length(1), metavar="LENGTH",
              help="How long --wait waits before exit 8. Default: 8m, or the lease if that is "
                  "shorter.")  # fmt: skip
@order_options.name_options
@bids.yes_option
@output.dry_run_option
@output.json_option
def command(server_id: int, **options: Any) -> None:  # noqa: ANN401 - click's options, all read below
    """Rent a server: create a new order.

    Only the new order's id goes to stdout. The plan for SERVER_ID, with the price in both units,
    fees and balance, goes to stderr. On a terminal the command asks before it rents; in a script it
    does not.
    """
    from clore_ai.rental.orders import BOOT_DEADLINE_S
    from clore_ai.rental.reports.orders import row

    options["currency"] = prices.full(options["currency"])
    _bid(options)
    fields, identity = order_options.fields(options)
    has_ssh = fields["ports"].get("22") == "tcp"
    if options["wait"] and not has_ssh:
        raise click.UsageError("--wait waits for SSH; add --port 22:tcp, or leave --wait out.")
    wanted, ends = _wanted(server_id, options, fields), limits.read(options, default=False)
    with connect() as api:
        order, plan = renting.earlier(api, options["ref"]), None
        if order is None:
            plan = _agree(api, server_id, options, ends)
            if plan is not None:
                order = _create(api, wanted, plan, options, ends, identity)
        if order is None or options["dry_run"]:
            return
        # From here on money is spent: every end must name the order's id.
        try:
            if plan is None and not api.session.access.known(order):
                api.session.remember(order, identity)
            if not options["as_json"]:
                output.line(order.id)
            if options["wait"]:
                output.note("Waiting for SSH (real machines take 1-6 minutes)…")
                order = api.wait_for_ssh(order.id, options["wait_timeout"] or BOOT_DEADLINE_S)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(plans.goes_on(order.id)) from None
    if options["as_json"]:
        output.data(row(order, None if plan is None else plan.cost.price))
    plans.use(order, ssh=has_ssh)


def _agree(api: CloreAI, server_id: int, options: dict[str, Any], ends: Limits) -> Offer | None:
    """Show the plan and ask, if there is a terminal; None for a dry run."""
    from clore_ai.rental.orders import wait
    from clore_ai.rental.rent import deploy, high_bid

    kind, coin, is_only_shown = options["kind"], options["currency"], options["dry_run"]
    given: bids.Bid | None = options["spot_price"]
    bid = None if given is None else given.in_coin(coin)
    plan = api.drive(deploy.quote(api.session, server_id, coin, kind, bid, ends))
    plans.show(plan, kind, options["image"], limits.lines(plan, ends, now(api)))
    api.drive(deploy.check_budgets(api.session, plan, kind, plan.cost))
    if options["wait"]:
        options["wait_timeout"] = wait.within(
            "--wait-timeout", options["wait_timeout"], plan.end.lease_s or inf
        )
    if kind == "spot":
        bids.guard(
            "The bid",
            high_bid.of(plan),
            yes=options["yes"] or is_only_shown,
            force=options["force"] or is_only_shown,
        )
    if is_only_shown:
        if options["as_json"]:
            output.data(plan)
        return None
    output.ask("Rent it?", "nothing was rented", yes=options["yes"])
    return plan


def _bid(options: dict[str, Any]) -> None:
    if options["kind"] == "spot" and options["spot_price"] is None:
        raise click.UsageError(
            "--type spot needs --spot-price: your bid in the coin per DAY, or 0.2/h or 4.8/day in "
            "USD. See: clore spot SERVER_ID"
        )
    if options["kind"] != "spot" and options["spot_price"] is not None:
        raise click.UsageError("--spot-price goes with --type spot; leave it out, or change both.")


def _wanted(server_id: int, options: dict[str, Any], fields: dict[str, Any]) -> OrderRequest:
    """The order without its final price; checks here what the service would refuse."""
    from clore_ai._api.order_request import OrderRequest

    bid: bids.Bid | None = options["spot_price"]
    # Converted to the coin later; until then any number above 0 passes the check.
    price = None if bid is None else bid.amount
    with order_options.in_options():
        return OrderRequest(
            server_id,
            options["image"],
            options["kind"],
            options["currency"],
            spot_price=price,
            **fields,
        )


def _create(
    api: CloreAI,
    wanted: OrderRequest,
    plan: Offer,
    options: dict[str, Any],
    ends: Limits,
    identity: Path | None,
) -> Order:
    from clore_ai.rental.orders.create import RentalTerms
    from clore_ai.rental.rent import deploy

    def on_event(event: RentEvent) -> None:
        output.note(event.message, bold=event.what == "created")

    terms = RentalTerms(
        options["ref"], options["purpose"], max_cost_usd=ends.max_cost_usd, enforced=ends.enforced
    )
    # With a password or somebody else's key, a login can't be checked.
    login = options["wait"] and identity is not None
    newest = api.ledger.newest()
    try:
        return api.drive(
            deploy.order(api.session, wanted, plan, terms, identity, on_event, login=login)
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(renting.left_behind(api, newest)) from None
