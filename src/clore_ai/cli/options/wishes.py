"""The options of `clore rent`, `run` and `watch` that describe what to rent: a `Wish`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from clore_ai.cli import units
from clore_ai.cli.options import bids, bundle, limits, order_options
from clore_ai.cli.options.length import Length

if TYPE_CHECKING:
    from clore_ai.rental.market.listing import Filter
    from clore_ai.rental.rent.wish import Wish

IMAGE = "cloreai/ubuntu22.04-cuda12"

IN_OPTIONS = {
    "gpu": "--gpu",
    "gpu_count": "--gpus",
    "min_vram_gb": "--min-vram",
    "min_ram_gb": "--min-ram",
    "min_disk_gb": "--min-disk",
    "min_down_mbps": "--min-down",
    "min_reliability": "--min-reliability",
    "countries": "--country",
    "min_cuda": "--cuda",
    "max_price_usd": "--max-price",
    "currency": "--currency",
    "spot_price": "--spot-price",
    "max_bid_usd": "--max-bid",
    "limits": "--lease, --max-hours and --max-cost",
    "hosts": "host memory (clore hosts)",
}
"""Field of a wish -> its option."""


def _most(text: str) -> float:
    """A price such as ``0.4/h`` in USD per hour, above 0."""
    try:
        amount = units.read_usd_per_hour(text)
    except click.BadParameter:
        raise click.BadParameter(
            f"{text!r} is not a limit in USD; write 0.4/h or 9.6/day. A bid in a coin is "
            "--spot-price."
        ) from None
    if not 0 < amount < float("inf"):
        raise click.BadParameter(f"{text!r} is not above 0.")
    return amount


gpu_option = click.option(
    "--gpu", "gpu", multiple=True,
    help='GPU model or part of its name, e.g. "RTX 4090"; repeatable, any of them matches.',
)  # fmt: skip
min_ram_option = click.option(
    "--min-ram", type=click.FloatRange(0), metavar="GB", help="Minimum RAM, in GB."
)
max_price_option = click.option(
    "--max-price", type=units.read_usd_per_hour, metavar="PRICE",
    help="Maximum price for the whole server in USD, without fees: 0.5 or 0.5/h per hour, 12/day "
        "per day.",
)  # fmt: skip
_SERVER = (
    gpu_option,
    click.option("--gpus", type=click.IntRange(1), metavar="N", help="Exact number of GPUs."),
    click.option("--min-vram", type=click.FloatRange(0), metavar="GB",
                 help="Minimum memory of each GPU, in GB."),
    min_ram_option,
    click.option("--min-disk", type=click.FloatRange(0), metavar="GB", help="Minimum disk, in GB."),
    click.option("--min-down", type=click.FloatRange(0), metavar="MBIT",
                 help="Minimum download speed, in Mbit/s."),
    click.option("--min-reliability", type=units.read_share, metavar="SHARE",
                 help="Minimum reliability of the host: 0.98 or 98%."),
    click.option("--country", "countries", multiple=True, metavar="CC",
                 help="Country code of two letters, e.g. SE; repeatable, any of them matches."),
    click.option("--cuda", metavar="VERSION", help="Minimum CUDA version of the host's driver, "
        "e.g. 12.4."),
    max_price_option,
)  # fmt: skip
_PAY = (
    click.option("--on-demand", "kind", flag_value="on-demand", default=True,
                 help="Rent at the list price (default)."),
    click.option("--spot", "kind", flag_value="spot", help="Rent at your own bid; the order may "
        "be outbid."),
    click.option("--max-bid", type=_most, metavar="PRICE",
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
    click.option("--verify-cmd", metavar="CMD",
                 help="Additional check: a command that must exit with 0 on the server."),
    click.option("--attempts", type=click.IntRange(1), default=3, show_default=True,
                 help="How many servers to try until one passes."),
    click.option("--boot-timeout", type=Length(1), metavar="LENGTH",
                 help="How long each server may take to pass. Default: 8m, or the lease if that "
                     "is shorter."),
)  # fmt: skip
_ON_IT = (
    click.option("--image", default=IMAGE, show_default=True, help="Docker image."),
    order_options.options("--port", "--env", "--ssh-key-file"),
)

options = bundle(*_SERVER, *_PAY, *_SURE, *_ON_IT, limits.options, order_options.name_options)
"""All options of a `Wish`, for a command that rents; `read` makes the wish."""


def read_filter(options: dict[str, Any]) -> Filter:
    """The filter of the options that select a server."""
    from clore_ai.rental.market import listing

    return listing.Filter(
        gpu=options["gpu"] or None,
        gpu_count=options["gpus"],
        min_vram_gb=options["min_vram"],
        min_ram_gb=options["min_ram"],
        min_disk_gb=options["min_disk"],
        min_down_mbps=options["min_down"],
        min_reliability=options["min_reliability"],
        countries=options["countries"],
        min_cuda=options["cuda"],
        max_price_usd=options["max_price"],
    )


def read(options: dict[str, Any]) -> Wish:
    """The wish of `options`; the login is by key, the user's or the state folder's own.

    Raises:
        UsageError, InvalidInputError: options are invalid or contradict each other; names them.
    """
    from clore_ai.rental.rent import wish

    text, identity = order_options.key(options)
    coin = options["currency"].strip()
    with order_options.in_options(spot="--spot"):
        return wish.checked(
            wish.Wish(
                filter=read_filter(options),
                type=options["kind"],
                currency=wish.AUTO if coin.lower() == wish.AUTO else units.full(coin),
                spot_price=options["spot_price"],
                max_bid_usd=options["max_bid"],
                sort=options["sort"],
                image=options["image"],
                ports=order_options.ports(options["ports"]),
                env=order_options.env(options["env"], any_name=True) or None,
                ssh_key=text,
                identity=identity,
                jupyter_token=options.get("jupyter_token"),
                command=options.get("startup"),
                verify=options["verify"],
                verify_command=options["verify_cmd"],
                attempts=options["attempts"],
                boot_deadline_s=options["boot_timeout"],
                limits=limits.read(options),
                client_ref=options["ref"],
                purpose=options["purpose"],
            )
        )
