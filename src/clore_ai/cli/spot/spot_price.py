"""`clore spot-price` (004, CLI Reference)."""

from __future__ import annotations

import click

from clore_ai.cli import output
from clore_ai.cli.account import connect, now
from clore_ai.cli.options import bids
from clore_ai.models import price as prices


@click.command()
@click.argument("order_id", type=int)
@click.argument("price", type=bids.read)
@bids.force_option
@bids.yes_option
@output.json_option
def command(order_id: int, price: bids.Bid, force: bool, yes: bool, as_json: bool) -> None:
    """Change the bid of a spot order.

    PRICE is for the whole server: 0.2/h or 4.8/day in USD, or a number alone in the coin of
    ORDER_ID per DAY. Raising the bid is free; it can be lowered only in steps, once in 600 seconds.
    A bid above the server's on-demand price needs a confirmation, and one above three times that
    price --force.
    """
    from clore_ai.rental.rent import high_bid
    from clore_ai.rental.spot import set_price

    with connect() as api:
        change = api.drive(high_bid.change(api.session, order_id, price.per_day))
        order, bid = change.order, change.bid
        output.note(
            f"Order {order_id} on server {order.server_id}: bid {prices.coin(order.price)} -> "
            f"{prices.coin(bid.per_day)} {bid.coin}/day ({bid.text()})"
        )
        bids.guard("The bid", change.high, yes=yes, force=force)
        output.ask("Set it?", "the bid is unchanged", yes=yes)
        answer = api.drive(set_price.set_price(api.session, order_id, bid.per_day, order))
        if change.is_lower:
            again = set_price.later(set_price.LOWERING_S, now(api))
            output.note(f"It can be lowered again {again}.")
    if as_json:
        output.data(answer)
    else:
        output.note("Done.", bold=True)
