"""The watches of `clore watch --file`: TOML tables whose keys are the options of the command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from clore_ai.cli.errors import as_usage
from clore_ai.cli.options import from_table, wishes

if TYPE_CHECKING:
    from pathlib import Path

    from clore_ai.rental.watch.market import Watch

_NEVER = {"every", "for_s", "once", "first", "path", "yes", "as_json"}
"""Options of the command that apply to all watches."""


@dataclass
class Asked:
    """One watch, and where to report it."""

    watch: Watch
    notify_cmd: str | None = None
    webhook: str | None = None
    force: bool = False
    """Allow a bid far above the on-demand price."""


def asked(name: str, options: dict[str, Any]) -> Asked:
    """The watch of one set of options.

    Raises:
        UsageError: the options are invalid or contradict each other.
    """
    from clore_ai.rental.watch import market as watch
    from clore_ai.rental.watch.notify import is_address

    webhook: str | None = options["webhook"]
    if webhook is not None and not is_address(webhook):
        raise click.UsageError(
            "--webhook is not an address; an address looks like https://HOST/PATH."
        )
    if not options["rent"] and options["type"] == "spot":
        raise click.UsageError("--spot needs --rent: add --rent, or leave out --spot.")
    # Options of a watch that rents are checked here, so that errors are reported at once.
    wish = wishes.read(options) if options["rent"] else None
    wanted = wishes.read_filter(options) if wish is None else wish.filter
    made = watch.Watch(wanted, name, wish=wish)
    return Asked(made, options["notify_cmd"], webhook, options["force"])


def read(path: Path, command: click.Command, common: dict[str, Any]) -> list[Asked]:
    """The watches of a file, one per ``[[watch]]``; `common` holds their defaults.

    Raises:
        UsageError: the file can't be read, or a table is wrong; names the table.
    """
    from clore_ai.rental.watch.watch_file import tables

    found: list[Asked] = []
    try:
        raw = path.read_bytes()
    except OSError as exc:
        raise click.UsageError(f"{path}: {exc.strerror}.") from exc
    with as_usage():
        watches = tables(path, raw)
    for name, table in watches.items():
        where = f"{path}, {name}"
        with as_usage():
            given = from_table(where, table, command, _NEVER)
        values = {key: value for key, (_, value) in given.items()}
        try:
            made = command.make_context("watch", [], default_map=values)
            found.append(asked(name, {**common, **{key: made.params[key] for key in values}}))
        except click.UsageError as exc:
            raise click.UsageError(f"{where}: {exc.format_message()}") from exc
    return found
