"""`clore spot-price` (004, CLI Reference)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from clore_ai._values.lengths import duration
from clore_ai.cli import output, units
from clore_ai.cli.account import connect
from clore_ai.cli.options import bids
from clore_ai.exceptions import FieldError, InvalidInputError

if TYPE_CHECKING:
    from clore_ai.client import CloreAI
    from clore_ai.models import Order


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
    from clore_ai.models.price import USD
    from clore_ai.rental.market import rates
    from clore_ai.rental.orders import wait
    from clore_ai.rental.rent import high_bid

    with connect() as api:
        order = api.drive(wait.find(api.session, order_id))
        if order.type == "on-demand":
            raise InvalidInputError(
                f"Order {order_id} is on-demand: its price is fixed; only spot orders have a bid.",
                2,
            )
        coin = order.currency or "its coin"
        if coin != USD:
            api.drive(rates.ask(api.session, order.server_id))
        worth = api.session.rates
        bid = worth.price(price.per_day(coin, worth.usd(coin)), coin)
        output.note(
            f"Order {order_id} on server {order.server_id}: bid {units.coin(order.price)} -> "
            f"{units.coin(bid.per_day)} {coin}/day ({bid.text()})"
        )
        is_lower = order.price is not None and bid.per_day < order.price
        if not is_lower:
            found = api.drive(high_bid.of_order(api.session, order, bid))
            bids.guard("The bid", found, yes=yes, force=force)
        if not yes:
            output.ask("Set it?", "the bid is unchanged")
        try:
            answer = api.set_spot_price(order_id, bid.per_day)
        except FieldError as exc:
            raise _plain(api, order, exc) from exc
        if is_lower:
            output.note(f"It can be lowered again {_later(api, 600)}.")
    if as_json:
        output.data(answer)
    else:
        output.note("Done.", bold=True)


def _later(api: CloreAI, seconds: float) -> str:
    """A wait as ``in 9m 40s, at 2026-07-11 14:00 UTC``."""
    from clore_ai._api.steps import clock
    from clore_ai.rental.spend.lease import moment

    at = api.drive(clock()).wall + seconds
    return f"in {duration(seconds)}, at {moment(at)}"


def _plain(api: CloreAI, order: Order, exc: FieldError) -> FieldError:
    """A refusal in plain words with the next step; an unknown error unchanged."""
    from clore_ai.rental.spot import auction

    step, left_s = exc.max_step, exc.lowering_in_s
    if exc.error == "exceeded_max_step" and step is not None and order.price is not None:
        lowest = auction.up(order.price - step)
        fewer = api.session.rates.price(step, order.currency)
        words = (
            f"The bid of order {order.id} can be lowered by at most {fewer.text()} "
            f"({units.coin(step)} {order.currency}/day) at a time, and by as much "
            f"{_later(api, 600)} at the earliest. Now: clore spot-price {order.id} {lowest:.8f}"
        )
    elif exc.error == "can_lower_every_600_seconds" and left_s is not None:
        words = (
            f"The bid of order {order.id} can be lowered again {_later(api, left_s)}; raising is "
            "free."
        )
    elif exc.error == "amount_too_low":
        words = (
            f"The bid of order {order.id} would be below what its host accepts. For the lowest "
            f"accepted bid: clore spot {order.server_id}"
        )
    else:
        return exc
    return FieldError(words, exc.code, exc.response, status=exc.status)
