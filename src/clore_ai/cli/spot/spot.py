"""`clore spot` (004, CLI Reference), and the commands that keep a bid."""

from __future__ import annotations

import click

from clore_ai._values.lengths import duration
from clore_ai.cli import output
from clore_ai.cli.account import connect
from clore_ai.cli.spot.spot_auto import auto
from clore_ai.exceptions import NotFoundError
from clore_ai.models import price as prices


class Spot(click.Group):
    """A group that also accepts 004's ``clore spot SERVER_ID``, which names no command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read ``SERVER_ID`` as ``show SERVER_ID``."""
        words = [word for word in args if not word.startswith("-")]
        if args and not {"-h", "--help"} & {*args} and (not words or words[0].isdigit()):
            args = ["show", *args]
        return super().parse_args(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command; a number selects ``show``."""
        return super().get_command(ctx, "show" if cmd_name.isdigit() else cmd_name)


@click.group(cls=Spot, subcommand_metavar="SERVER_ID | COMMAND [ARGS]...")
def command() -> None:
    """Show a server's spot market, or hold the lowest winning bid.

    With only the id of a server, as in `clore spot 24003`, the command shows the market.
    """


command.add_command(auto)


@command.command()
@click.argument("server_id", type=int)
@output.json_option
def show(server_id: int, as_json: bool) -> None:
    """Show the spot market of a server.

    Bids on SERVER_ID are in coin per DAY, for the whole server.
    """
    with connect() as api:
        market = api.spot_marketplace(server_id)
    if not market.offers and not (market.server and market.server.model_dump(exclude_none=True)):
        raise NotFoundError(f"There is no server {server_id}. List servers with: clore search")
    if as_json:
        output.data(market)
        return
    rates = market.rates
    lowest = (market.server.min_pricing if market.server else None) or {}
    for coin, price in lowest.items():
        price_text = rates.price(price, coin).text()
        output.note(f"Lowest bid: {prices.coin(price)} {coin}/day ({price_text})")
    if market.server and market.server.max_rental is not None:
        output.note(f"Longest rental: {duration(market.server.max_rental)}")
    if not market.offers:
        output.note(f"No offers on server {server_id}.")
        return
    bids = [(offer, rates.price(offer.price or 0.0, offer.currency)) for offer in market.offers]
    bids.sort(key=lambda pair: -(pair[1].usd_per_hour or 0))
    output.table(
        [">Order", ">Bid/day", "Coin", ">$/h", ">$/day", "Runs", "Mine"],
        [
            [
                str(o.order_id or "-"),
                prices.coin(o.price),
                o.currency or "-",
                "-" if o.price is None else prices.hourly(bid.usd_per_hour),
                "-" if o.price is None else prices.daily(bid.usd_per_day),
                "-" if o.active is None else "yes" if o.active else "no",
                "yes" if o.my else "",
            ]
            for o, bid in bids
        ],
    )
