"""`clore rent`: what was wished for, found, rented and verified."""

from __future__ import annotations

from typing import Any

import click

from clore_ai.cli import _output, _rent, _wish
from clore_ai.cli._account import connect


@click.command()
@_wish.options
@click.option("--top", type=click.IntRange(1), default=3, show_default=True, metavar="N",
              help="How many of the best offers the plan shows.")  # fmt: skip
@click.option("-y", "--yes", is_flag=True, help="Don't ask; needed where there is no terminal.")
@_output.json_option
def command(**options: Any) -> None:  # noqa: ANN401 - click's options
    """Rent the best server that fits, and see that it works."""
    wish = _wish.read(options)
    with connect() as api:
        rented = _rent.rent(api, wish, yes=options["yes"], top=options["top"])
    click.echo(rented.order.id)
