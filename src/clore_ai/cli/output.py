"""Printing: data on stdout, everything else on stderr; tables on a terminal, lines in a pipe.

Everything that a command prints goes through here or `errors`, which filter text quoted from a host
or machine once more. Only a job's own output is printed raw.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any, Callable, TypeVar, cast

import click

from clore_ai._values import days
from clore_ai._values.kinds import written
from clore_ai._values.secrets import without
from clore_ai._values.text import LONGEST, one_line
from clore_ai.cli.errors import Declined, colour

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.table import Table

T = TypeVar("T")
_LONGEST = 10_000
"""Characters of a line."""
_GAP = 2
"""Blanks after a column."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
yes_option = click.option(
    "-y", "--yes", is_flag=True, help="Don't ask; required without a terminal."
)
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Show the plan and the cost; rent nothing."
)


def data(value: object, *, secrets: bool = False) -> None:
    """Print `jsonable(value)` on stdout, without keys named like secrets unless `secrets`."""
    value = jsonable(value)
    shown = value if secrets else without(value)
    click.echo(written(shown, indent=2 if sys.stdout.isatty() else None))


def event(value: dict[str, Any]) -> None:
    """Print `jsonable(value)` as a line of stdout, without keys named like secrets, and flush."""
    click.echo(written(without(jsonable(value))))
    sys.stdout.flush()


def jsonable(value: object) -> Any:  # noqa: ANN401 - JSON
    """A value for ``--json``: of a record of the SDK its own `row()`, or else all of its fields."""
    if isinstance(value, (list, tuple)):
        return [jsonable(each) for each in cast("Sequence[object]", value)]
    if isinstance(value, dict):
        entries = cast("dict[str, object]", value)
        return {name: jsonable(each) for name, each in entries.items()}
    for form in ("row", "model_dump"):
        if hasattr(type(value), form):  # in an answer of the service, a field may be named so, too
            return jsonable(getattr(value, form)())
    return jsonable(asdict(value)) if is_dataclass(value) and not isinstance(value, type) else value


def line(text: object, *, err: bool = False) -> None:
    """Print a line of data on stdout and flush; with `err` on stderr, if it is not data."""
    click.echo(one_line(str(text), _LONGEST), err=err)
    sys.stdout.flush()


def note(message: str, *, bold: bool = False) -> None:
    """Print a line for people, on stderr."""
    text = one_line(message, _LONGEST)
    click.echo(click.style(text, bold=True) if bold else text, err=True, color=colour())


def stamp() -> str:
    """The present time, to begin a line about an event: ``12:03:59 CEST``."""
    return days.shown(time.time(), "%H:%M:%S")


def facts(*lines: tuple[str, object]) -> None:
    """Print lines of a plan on stderr; a value of None is omitted."""
    for name, value in lines:
        if value is not None:
            note(f"  {name:9} {value}")


def typed(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:  # noqa: ARG001 - click's signature
    """A secret as given; for ``-``, read it from a hidden prompt or a line of stdin.

    That keeps the secret out of the process list.

    Raises:
        UsageError: the input is empty.
    """
    return read(parameter.opts[0]) if value == "-" else value


def read(name: str, *, hidden: bool = True) -> str:
    """A value from a prompt on a terminal, or else a line of stdin.

    Raises:
        UsageError: the input is empty.
    """
    if sys.stdin.isatty():
        value = str(click.prompt(name, hide_input=hidden, err=True))
    else:
        value = sys.stdin.readline().rstrip("\r\n")
    if not value:
        raise click.UsageError(f"No value for {name}.")
    return value


def somebody() -> bool:
    """Is there a terminal to ask on?"""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str, otherwise: str, *, yes: bool = False) -> None:
    """Ask before an action that costs money, on a terminal only; a script has decided already.

    `yes`: don't ask.

    Raises:
        Declined: the answer is No, which is the default.
        Abort: Ctrl-C, or the end of the input. Both carry `otherwise` in their message.
    """
    if yes or not somebody():
        return
    try:
        agreed = click.confirm(one_line(question, _LONGEST), default=False, err=True)
    except click.Abort:
        click.echo(err=True)
        raise click.Abort(f"Interrupted; {otherwise}.") from None
    if not agreed:
        raise Declined(f"{otherwise[0].upper()}{otherwise[1:]}.")


def can_agree(*, yes: bool, why: str = "") -> None:
    """Require `--yes` without a terminal, for an action that must not happen by accident.

    Raises:
        UsageError: there is no terminal and no `yes`; the message begins with `why`.
    """
    if not (yes or somebody()):
        needs = "This needs confirmation and there is no terminal. Add --yes."
        raise click.UsageError(f"{why} {needs}".strip())


def agree(question: str, otherwise: str, *, yes: bool, why: str = "") -> None:
    """As `ask`, for an action that must not happen by accident; the question begins with `why`.

    Raises:
        UsageError: as `can_agree`.
        Declined, Abort: as `ask`.
    """
    can_agree(yes=yes, why=why)
    ask(f"{why} {question}".strip(), otherwise, yes=yes)


def rows(
    items: Iterable[T],
    columns: Mapping[str, Callable[[T], object]],
    *,
    spare: Sequence[str] = (),
    err: bool = False,
) -> None:
    """Print a row per item; `columns`: title -> its value for an item (``-`` if there is none)."""
    table(list(columns), cells(items, columns), spare=spare, err=err)


def cells(items: Iterable[T], columns: Mapping[str, Callable[[T], object]]) -> list[list[str]]:
    """The cells of each item's row."""
    values = [[show(item) for show in columns.values()] for item in items]
    return [["-" if value in (None, "") else str(value) for value in row] for row in values]


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    spare: Sequence[str] = (),
    err: bool = False,
) -> None:
    """Print rows under `columns`; a ``>`` before a column's name aligns it right.

    On a terminal, a table; `spare` columns are omitted, in their order, until it fits the width. In
    a pipe, a header and one line per row, separated by tabs. With `err` on stderr, if the rows are
    not data.
    """
    shown = [[one_line(cell, LONGEST) for cell in row] for row in rows]
    if not (sys.stderr if err else sys.stdout).isatty():
        for row in ([c.lstrip(">") for c in columns], *shown):
            click.echo("\t".join(row), err=err)
        return
    from rich.console import Console  # 30 ms that a pipe does not need

    console = Console(no_color=bool(os.environ.get("NO_COLOR")), highlight=False, stderr=err)
    drawn, left_out = fitted(columns, shown, spare, console.width)
    console.print(drawn)
    if left_out:
        note(f"Left out for lack of space: {', '.join(left_out)}. All: --json")


def fitted(
    columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str], room: int
) -> tuple[Table, list[str]]:
    """A table that fits a terminal of width `room`, and the columns omitted from it."""
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    names = [c.lstrip(">") for c in columns]
    width = {
        name: _GAP + max(map(cell_len, (name, *(row[i] for row in rows))))
        for i, name in enumerate(names)
    }
    left_out: list[str] = []
    for name in spare:
        if sum(width.values()) <= room:
            break
        del width[name]
        left_out.append(name)
    kept = [i for i, name in enumerate(names) if name in width]
    drawn = Table(header_style="bold", box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for i in kept:
        right = columns[i].startswith(">")
        drawn.add_column(
            names[i], justify="right" if right else "left", no_wrap=right, overflow="fold"
        )
    for row in rows:
        drawn.add_row(*(Text(row[i]) for i in kept))
    return drawn, left_out
