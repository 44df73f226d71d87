"""The options of `clore search`, `rent`, `run` and `watch` that describe what to rent: a `Wish`.

A parameter has the name of the field that it sets, in `Wish` or its filter.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from clore_ai.cli.options import bids, bundle, limits, order_options, read_price, read_share
from clore_ai.cli.options.length import Length
from clore_ai.models import price as prices

if TYPE_CHECKING:
    from clore_ai.rental.market.listing import Filter
    from clore_ai.rental.rent.wish import Wish

IMAGE = "cloreai/ubuntu22.04-cuda12"


def _most(text: str) -> float:
    """A price such as ``0.4/h`` in USD per hour, above 0."""
    try:
        amount = prices.read(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not a limit in USD; write 0.4/h or 9.6/day. A bid in a coin is "
            "--spot-price."
        ) from None
    if not 0 < amount < float("inf"):
        raise click.BadParameter(f"{text!r} is not above 0.")
    return amount


gpu_option = click.option(
    "--gpu", multiple=True,
    help='GPU model or part of its name, e.g. "RTX 4090"; repeatable, any of them matches.',
)  # fmt: skip
min_ram_option = click.option(
    "--min-ram", "min_ram_gb", type=click.FloatRange(0), metavar="GB", help="Minimum RAM, in GB."
)
max_price_option = click.option(
    "--max-price", "max_price_usd", type=read_price, metavar="PRICE",
    help="Maximum price for the whole server in USD, without fees: 0.5 or 0.5/h per hour, 12/day "
        "per day.",
)  # fmt: skip
_SERVER = (
    gpu_option,
    click.option("--gpus", "gpu_count", type=click.IntRange(1), metavar="N",
                 help="Exact number of GPUs."),
    click.option("--min-vram", "min_vram_gb", type=click.FloatRange(0), metavar="GB",
                 help="Minimum memory of each GPU, in GB."),
    min_ram_option,
    click.option("--min-disk", "min_disk_gb", type=click.FloatRange(0), metavar="GB",
                 help="Minimum disk, in GB."),
    click.option("--min-down", "min_down_mbps", type=click.FloatRange(0), metavar="MBIT",
                 help="Minimum download speed, in Mbit/s."),
    click.option("--min-reliability", type=read_share, metavar="SHARE",
                 help="Minimum reliability of the host: 0.98 or 98%."),
    click.option("--country", "countries", multiple=True, metavar="CC",
                 help="Country code of two letters, e.g. SE; repeatable, any of them matches."),
    click.option("--cuda", "min_cuda", metavar="VERSION",
                 help="Minimum CUDA version of the host's driver, e.g. 12.4."),
    max_price_option,
)  # fmt: skip
_PAY = (
    click.option("--on-demand", "type", flag_value="on-demand", default=True,
                 help="Rent at the list price (default)."),
    click.option("--spot", "type", flag_value="spot", help="Rent at your own bid; the order may "
        "be outbid."),
    click.option("--max-bid", "max_bid_usd", type=_most, metavar="PRICE",
                 help="With --spot: rent at the lowest bid that wins, up to this limit in USD, "
                     "without fees: 0.4/h or 9.6/day."),
    click.option("--spot-price", type=float, metavar="PRICE",
                 help="With --spot: your bid for the whole server, in the coin per DAY."),
    bids.force_option,
    click.option("--currency", default="auto", show_default=True,
                 help="Coin to pay in; auto picks the cheapest that the server accepts and the "
                     "wallet covers."),
    click.option("--sort", type=click.Choice(["price", "reliability", "gpu", "ram", "down"]),
                 default="price", show_default=True,
                 help="Rank offers by lowest real cost, fees included, or by the named property."),
)  # fmt: skip
_SURE = (
    click.option("--verify", type=click.Choice(["none", "ssh", "gpu"]), default="gpu",
                 show_default=True,
                 help="When a server counts as rented: at once, when SSH logs in, or when "
                     "nvidia-smi shows the promised GPUs and disk and network work."),
    click.option("--verify-cmd", "verify_command", metavar="CMD",
                 help="Additional check: a command that must exit with 0 on the server."),
    click.option("--attempts", type=click.IntRange(1), default=3, show_default=True,
                 help="How many servers to try until one passes."),
    click.option("--boot-timeout", "boot_deadline_s", type=Length(1), metavar="LENGTH",
                 help="How long each server may take to pass. Default: 8m, or the lease if that "
                     "is shorter."),
)  # fmt: skip
_ON_IT = (
    click.option("--image", default=IMAGE, show_default=True, help="Docker image."),
    order_options.options("--port", "--env", "--ssh-key-file"),
)

options = bundle(*_SERVER, *_PAY, *_SURE, *_ON_IT, limits.options, order_options.name_options)
"""All options of a `Wish`, for a command that rents; `read` makes the wish."""


def fields() -> dict[str, str]:
    """Field of a wish -> the option that sets it, in the command that runs."""
    options = {str(each.name): each.opts[0] for each in click.get_current_context().command.params}
    return {
        **options,
        "limits": "--lease, --max-hours and --max-cost",
        "hosts": "host memory (clore hosts)",
    }


def read_filter(options: dict[str, Any], *, available_only: bool = True) -> Filter:
    """The filter of the options that select a server."""
    from clore_ai.rental.market.listing import Filter

    return Filter(**_given(options, Filter), available_only=available_only)


def read(options: dict[str, Any]) -> Wish:
    """The wish of `options`; the login is by key, the user's or the state folder's own.

    Raises:
        UsageError, InvalidInputError: options are invalid or contradict each other; names them.
    """
    from clore_ai.rental.rent import wish

    text, identity = order_options.key(options)
    coin = options["currency"].strip()
    given: dict[str, Any] = {
        **_given(options, wish.Wish),
        "filter": read_filter(options),
        "currency": wish.AUTO if coin.lower() == wish.AUTO else prices.full(coin),
        "ports": order_options.ports(options["ports"]),
        "env": order_options.env(options["env"], any_name=True) or None,
        "ssh_key": text,
        "identity": identity,
        "command": options.get("startup"),
        "limits": limits.read(options),
        "client_ref": options["ref"],
    }
    with order_options.in_options(spot="--spot"):
        return wish.checked(wish.Wish(**given))


def _given(options: dict[str, Any], made: type) -> dict[str, Any]:
    """The options that were given, among those that have the name of a field of `made`."""
    names = {each.name for each in dataclasses.fields(made)}
    return {n: value for n, value in options.items() if n in names and value not in (None, ())}
