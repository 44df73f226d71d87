"""`clore spot auto`: keeps a spot order's bid at the lowest that wins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from clore_ai.cli import output
from clore_ai.cli.account import connect
from clore_ai.cli.options import bids, order_options, read_price
from clore_ai.cli.options.length import Length

if TYPE_CHECKING:
    from clore_ai.rental.spot.fallback import Fallback

_WAY_IN = ("image", "ports", "env", "startup", "ssh_password", "ssh_key", "ssh_key_file",
           "jupyter_token")  # fmt: skip


@click.command()
@click.argument("order_id", type=int)
@click.option("--max", "most", type=bids.read_limit, required=True, metavar="PRICE",
              help="Highest bid: 0.4/h or 9.6/day in USD, or 0.0001 BTC/day.")  # fmt: skip
@click.option("--every", type=Length(1, 3600), default="20s", show_default=True,
              metavar="LENGTH", help="How often to check; a check is one request.")  # fmt: skip
@click.option("--for", "for_s", type=Length(), metavar="LENGTH",
              help="Stop after 30m, 6h, 2d. Default: when the order ends.")  # fmt: skip
@click.option("--once", is_flag=True, help="Check once, act on the result and exit, e.g. for cron.")
@click.option("--headroom", type=click.FloatRange(0, 100), default=0, metavar="PERCENT",
              help="Bid this much above the best rival: it costs more and is outbid less "
                  "often.")  # fmt: skip
@click.option("--fallback", type=click.Choice(["none", "on-demand", "server"]), default="none",
              show_default=True, help="What to rent instead if the order does not run for "
                  "--patience: the same server on demand, or another server at spot.")  # fmt: skip
@click.option("--patience", type=Length(), default="15m", show_default=True, metavar="LENGTH",
              help="How long the order may wait before the fallback.")  # fmt: skip
@click.option("--fallback-max", type=read_price, metavar="PRICE",
              help="Highest on-demand price of the fallback: 0.6/h or 14/day. Default: its "
                  "current price.")  # fmt: skip
@click.option("--image", help="Image of the fallback. Default: the order's image.")
@order_options.options(whose="Fallback: ")
@bids.force_option
@output.yes_option
@click.option("--json", "as_json", is_flag=True,
              help="Print JSON on stdout: one line per event, then the report.")  # fmt: skip
def auto(order_id: int, **options: Any) -> None:  # noqa: ANN401 - click's options, all read below
    """Keep a spot order at the lowest bid that wins.

    Raises the bid of ORDER_ID when it is outbid, up to --max, and lowers it as far and as often as
    the service allows. At the end, and with --once, it reports the savings. After Ctrl-C the order
    keeps running at its last bid. An order that reaches its limit (clore lease) is cancelled, with
    exit 7. The id of a fallback order goes to stdout.
    """
    from clore_ai.cli.spot import steer
    from clore_ai.rental.spot.run import SpotSettings

    _check(options)
    with connect() as api:
        most: bids.Bid = options["most"]
        settings = SpotSettings(
            None if most.coin else most.amount, most.amount if most.coin else None,
            options["every"], options["for_s"], options["headroom"] / 100, _fallback(options),
            options["once"],
        )  # fmt: skip
        steered = steer.prepared(api, order_id, settings)
        if most.coin not in (None, steered.coin):
            raise click.UsageError(
                f"Order {order_id} is paid in {steered.coin}; give --max in USD (0.4/h) or in that "
                "coin."
            )
        steer.agree(steered, yes=options["yes"], force=options["force"])
        steer.fly(api, steered, as_json=options["as_json"])


def _check(options: dict[str, Any]) -> None:
    if options["once"] and options["for_s"] is not None:
        raise click.UsageError("--once checks once: leave out --for, or --once.")
    if options["fallback"] == "none":
        given = [name for name in _WAY_IN if options[name]]
        if given or options["fallback_max"] is not None:
            raise click.UsageError("These options are for the fallback: add --fallback.")
    if options["fallback"] != "on-demand" and options["fallback_max"] is not None:
        raise click.UsageError(
            "--fallback-max is for --fallback on-demand; another server is limited by --max."
        )
    output.can_agree(yes=options["yes"], why="The autopilot bids, and so spends, by itself.")


def _fallback(options: dict[str, Any]) -> Fallback | None:
    if options["fallback"] == "none":
        return None
    from clore_ai.rental.spot.fallback import Fallback

    fields, identity = order_options.fields(options)
    to, most = options["fallback"], options["fallback_max"]
    return Fallback(to, options["patience"], most, options["image"], **fields, identity=identity)
