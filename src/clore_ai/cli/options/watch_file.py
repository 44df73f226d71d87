"""The watches of `clore watch --file`: TOML tables whose keys are the options of the command."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import click
from click.core import ParameterSource

from clore_ai.cli.options import wishes

if TYPE_CHECKING:
    from pathlib import Path

    from clore_ai.rental.watch.market import Watch


@dataclass
class Asked:
    """One watch, and whom to tell of it."""

    watch: Watch
    notify_cmd: str | None = None
    webhook: str | None = None
    force: bool = False
    """A bid may be far above the price on demand."""
    rented: bool = False


def asked(name: str, options: dict[str, Any]) -> Asked:
    """The watch of one set of options.

    Raises:
        UsageError: they make no sense.
    """
    from clore_ai.rental.watch import market as watch

    webhook: str | None = options["webhook"]
    if webhook is not None and not _is_address(webhook):
        raise click.UsageError(
            "--webhook is not an address; an address looks like https://HOST/PATH."
        )
    if not options["rent"] and options["kind"] == "spot":
        raise click.UsageError("--spot needs --rent: add --rent, or leave out --spot.")
    # All options are read, also where nothing is rented: what makes no sense is said now.
    wish = wishes.read(options) if options["rent"] else None
    wanted = wishes.read_filter(options) if wish is None else wish.filter
    made = watch.Watch(wanted, name, wish=wish)
    return Asked(made, options["notify_cmd"], webhook, options["force"])


def _is_address(url: str) -> bool:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def read(path: Path, command: click.Command, common: dict[str, Any]) -> list[Asked]:
    """The watches of a file, each ``[[watch]]`` one; `common` is what they do not say.

    Raises:
        UsageError: it can't be read, or a table makes no sense; names the table.
    """
    tables = _tables(path)
    known = {
        opt[2:].replace("-", "_"): parameter
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for opt in parameter.opts
        if opt.startswith("--")
    }
    for name in ("every", "for", "once", "first", "file", "yes", "json", "debug", "curl"):
        known.pop(name, None)
    found: list[Asked] = []
    for number, table in enumerate(tables, 1):
        name = str(table.pop("name", f"watch {number}"))
        try:
            words = _words(table, known)
            made = command.make_context("watch", words)
            given = {
                key: common[key] if _unsaid(made, key) else value
                for key, value in made.params.items()
            }
            found.append(asked(name, given))
        except click.UsageError as exc:
            raise click.UsageError(f"{path}, {name}: {exc.format_message()}") from exc
    names = [each.watch.name for each in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise click.UsageError(f"{path}: two watches have the name {twice!r}.")
    return found


def _unsaid(made: click.Context, key: str) -> bool:
    """Does the table not say this parameter itself?"""
    return made.get_parameter_source(key) is not ParameterSource.COMMANDLINE


def _tables(path: Path) -> list[dict[str, Any]]:
    name = "tomllib" if sys.version_info >= (3, 11) else "tomli"
    toml: Any = import_module(name)
    try:
        content: dict[str, Any] = toml.loads(path.read_text("utf-8"))
    except OSError as exc:
        raise click.UsageError(f"{path}: {exc.strerror}.") from exc
    except ValueError as exc:
        raise click.UsageError(f"{path} is not valid TOML: {exc}.") from exc
    tables = content.pop("watch", None)
    if content:
        raise click.UsageError(
            f"{path}: {next(iter(content))!r} is outside a [[watch]] table; start each watch with "
            "the line [[watch]]."
        )
    if not isinstance(tables, list) or not tables:
        raise click.UsageError(f"{path} holds no watches; start each with the line [[watch]].")
    rows = cast("list[object]", tables)
    if not all(isinstance(row, dict) for row in rows):
        raise click.UsageError(f"{path}: write [[watch]], in two brackets.")
    return [dict(cast("dict[str, Any]", row)) for row in rows]


def _words(table: dict[str, Any], known: dict[str, click.Option]) -> list[str]:
    """The table as it would be typed."""
    words: list[str] = []
    for key, value in table.items():
        option = known.get(key.replace("-", "_"))
        if option is None:
            from difflib import get_close_matches

            near = get_close_matches(key.replace("-", "_"), known, 1)
            hint = f" (did you mean {near[0]!r}?)." if near else "."
            raise click.UsageError(f"there is no {key!r}{hint}")
        flag = max(option.opts, key=len)
        if option.is_flag:
            if not isinstance(value, bool):
                raise click.UsageError(f"{key!r} must be true or false, not {value!r}.")
            words += [flag] if value else []
            continue
        for each in cast("list[object]", value) if isinstance(value, list) else [value]:
            words += [flag, str(each)]
    return words
