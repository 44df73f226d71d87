"""`clore search` (004, CLI Reference)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from clore_ai.cli import output, units
from clore_ai.cli.account import connect
from clore_ai.cli.errors import Nothing
from clore_ai.cli.options import wishes
from clore_ai.models import price as prices

if TYPE_CHECKING:
    from clore_ai.models import MarketplaceServer
    from clore_ai.rental.market.listing import Filter, Selection


@click.command()
@wishes.gpu_option
@click.option("--min-gpu", "min_gpu_count", type=click.IntRange(1), help="Minimum GPU count.")
@wishes.min_ram_option
@wishes.max_price_option
@click.option(
    "--sort",
    type=click.Choice(["price", "gpu", "ram"]),
    default="price",
    show_default=True,
    help="Show the cheapest, the most GPUs or the most RAM first.",
)
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="Number of rows to show."
)
@click.option("--all", "rented_too", is_flag=True, help="Include rented servers.")
@output.json_option
def command(
    *,
    sort: str,
    limit: int,
    rented_too: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - those of the filter
) -> None:
    """Search the GPU marketplace.

    Prices are on-demand prices for the whole server, without the renter's fee; "-" means unknown.
    "Rel." is the reliability of the host, "Max h" the longest rental in hours.
    """
    from clore_ai.rental.market import listing

    wanted = wishes.read_filter(options, available_only=not rented_too)
    with connect() as api:
        found = api.drive(listing.marketplace(api.session, wanted))
    if found.unpriced:
        output.note(
            f"Left out {found.unpriced} more that fit but have no known price in USD "
            "(seen without --max-price)."
        )
    if not found.servers:
        raise Nothing(_nothing(options["gpu"], wanted, found))
    servers = found.best_first(sort)
    shown = servers[:limit]
    if as_json:
        output.data(shown)
    else:
        _print(shown)
    unknown = sum(s.price_usd is None for s in servers)
    output.note(
        f"{len(shown)} of {len(servers)} that fit, of {found.seen} servers"
        + (f"; {unknown} of them without a known price in USD" if unknown else "")
        + ("" if len(shown) == len(servers) else f" (more with --limit {len(servers)})")
        + "."
    )


def _nothing(gpu: tuple[str, ...], wanted: Filter, found: Selection) -> str:
    if found.near:
        named = " or ".join(map(repr, gpu))
        return f"No server has the GPU {named}, of {found.seen}. Similar: {', '.join(found.near)}."
    most = wanted.max_price_usd
    asked = (
        f"GPU {' or '.join(gpu)}" if gpu else "",
        f"at least {wanted.min_gpu_count} GPUs" if wanted.min_gpu_count else "",
        f"at least {wanted.min_ram_gb:g} GB RAM" if wanted.min_ram_gb else "",
        "" if most is None else f"up to {prices.hourly(most)}",
    )
    what = ", ".join(filter(None, asked))
    free, more = (" free", ", or --all to see rented ones") if wanted.available_only else ("", "")
    return (
        f"No{free} server fits{f' ({what})' if what else ''}, of {found.seen}. "
        f"Try fewer conditions{more}."
    )


def _print(servers: list[MarketplaceServer]) -> None:
    output.rows(
        servers,
        {
            ">ID": lambda s: s.id,
            "GPU": lambda s: units.gpu(s.gpu_model),
            ">VRAM": lambda s: units.gb(s.vram_gb),
            ">RAM": lambda s: units.gb(s.ram_gb),
            "CPU": _cpu,
            ">Down/Up Mbit/s": _net,
            "Where": lambda s: s.location,
            ">Rel.": lambda s: units.share(s.reliability),
            ">Max h": lambda s: s.mrl,
            ">$/h": lambda s: prices.columns(s.price_usd_per_day)[0],
            ">$/day": lambda s: prices.columns(s.price_usd_per_day)[1],
            "Coins": lambda s: " ".join(map(prices.short, s.allowed_coins or ())),
        },
        spare=["CPU", "Down/Up Mbit/s", "VRAM", "Where", "Coins", "RAM"],
    )


def _cpu(s: MarketplaceServer) -> str:
    name = (s.specs.cpu if s.specs else None) or "-"
    for noise in ("(R)", "(TM)", "Intel ", "AMD ", " CPU", " Processor"):
        name = name.replace(noise, "")
    return " ".join(name.split("@")[0].split())[:22]


def _net(s: MarketplaceServer) -> str:
    net = s.specs.net if s.specs else None
    if net is None or net.down is None or net.up is None:
        return "-"
    return f"{net.down:.0f}/{net.up:.0f}"
