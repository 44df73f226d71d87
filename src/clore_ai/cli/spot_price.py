"""`clore spot-price` (004, CLI Reference)."""

from __future__ import annotations

import click

from clore_ai.cli import _output, _units
from clore_ai.cli._account import connect
from clore_ai.exceptions import InvalidInputError


@click.command()
@click.argument("order_id", type=int)
@click.argument("price", type=click.FloatRange(0, min_open=True))
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@_output.json_option
def command(order_id: int, price: float, yes: bool, as_json: bool) -> None:  # noqa: FBT001 - options
    """Change the bid of a spot order.

    PRICE is in the coin of ORDER_ID, per DAY, for the whole server. Raising is free; lowering goes
    in steps, once in 600 seconds.
    """
    from clore_ai.models.server import USD  # noqa: PLC0415 - likewise
    from clore_ai.rental import pick, wait  # noqa: PLC0415 - likewise

    with connect() as api:
        order = api.drive(wait.find(api.session, order_id))
        if order.type == "on-demand":
            raise InvalidInputError(
                f"Order {order_id} is on-demand: its price is fixed; only spot orders have a bid.",
                2,
            )
        coin = order.currency or "its coin"
        rates = {USD: 1.0}
        if coin != USD:
            rates = api.drive(pick.currency_rates(api.session, order.server_id))
        per_h = price * rates[coin] / 24 if coin in rates else None
        _output.note(
            f"Order {order_id} on server {order.server_id}: bid {_units.coin(order.price)} -> "
            f"{_units.coin(price)} {coin}/day ({_units.usd_h(per_h)} = {_units.usd_day(per_h)})"
        )
        if not yes:
            _output.ask("Set it?", "the bid is as it was")
        answer = api.set_spot_price(order_id, price)
    if as_json:
        _output.data(answer)
    else:
        _output.note("Done.", bold=True)
