"""Printing: data on stdout, everything else on stderr; tables on a terminal, lines in a pipe."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import click

from clore_ai.cli._exit import colour

if TYPE_CHECKING:
    from collections.abc import Sequence

json_option = click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")


def data(value: object) -> None:
    """One JSON value on stdout."""
    click.echo(json.dumps(value, indent=2 if sys.stdout.isatty() else None, default=str))


def note(message: str, *, bold: bool = False) -> None:
    """A line for people, on stderr."""
    click.echo(click.style(message, bold=True) if bold else message, err=True, color=colour())


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Rows under `columns`; a ``>`` before a column's name aligns it right.

    On a terminal a table; in a pipe one line a row with tabs between, a header first.
    """
    names = [c.lstrip(">") for c in columns]
    if not sys.stdout.isatty():
        for row in (names, *rows):
            click.echo("\t".join(cell.replace("\t", " ") for cell in row))
        return
    from rich.console import Console  # noqa: PLC0415 - 30 ms that a pipe does not need
    from rich.table import Table  # noqa: PLC0415 - likewise
    from rich.text import Text  # noqa: PLC0415 - likewise

    drawn = Table(title=title or None, title_justify="left", header_style="bold", box=None)
    for column, name in zip(columns, names):
        right = column.startswith(">")
        drawn.add_column(name, justify="right" if right else "left", no_wrap=right)
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    Console(no_color=bool(os.environ.get("NO_COLOR")), highlight=False).print(drawn)
