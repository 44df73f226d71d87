"""Reads options of a command from a TOML file, with the values as they would be typed."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from clore_ai._values.kinds import as_dict, as_list
from clore_ai._values.text import plain

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path


def parsed(path: Path, raw: bytes) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        UsageError: it is not UTF-8, or not TOML.
    """
    parser: Any = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        content: dict[str, Any] = parser.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as exc:
        raise click.UsageError(f"{path} can't be read: it is not UTF-8.") from exc
    except (ValueError, RecursionError) as exc:
        why = "it is nested too deep" if isinstance(exc, RecursionError) else plain(str(exc))
        raise click.UsageError(f"{path} is not valid TOML: {why}.") from exc
    return content


def read(
    where: object,
    table: Mapping[str, Any],
    command: click.Command,
    never: Collection[str],
    *others: str,
) -> dict[str, tuple[str, object]]:
    """Option name -> its key in the table and its value, without `never` and `others`.

    Raises:
        UsageError: a key is neither an option nor in `others`, or a value does not fit.
    """
    options = {
        word[2:]: option
        for option in command.params
        if isinstance(option, click.Option) and option.name not in never
        for word in option.opts
        if word.startswith("--") and option.expose_value
    }
    found: dict[str, tuple[str, object]] = {}
    for key, given in table.items():
        if key in others:
            continue
        option = options.get(key.replace("_", "-"))
        if option is None:
            raise _unknown(where, key, [*options, *others])
        # One of several flags of one name, as --spot is, means nothing when it is false.
        if given is not False or not isinstance(option.flag_value, str):
            found[str(option.name)] = key, _value(where, key, option, given)
    return found


def _unknown(where: object, key: str, names: list[str]) -> click.UsageError:
    from difflib import get_close_matches

    key = plain(key)
    near = get_close_matches(key.replace("_", "-"), names, 1, 0.5)
    hint = f" Did you mean {near[0]!r}?" if near else f" It may hold: {', '.join(sorted(names))}."
    return click.UsageError(f"{where}: there is no option {key!r}.{hint}")


def _value(where: object, key: str, option: click.Option, value: object) -> object:
    """The value in click's form: a text or number as typed, a list if it is repeatable."""
    if option.multiple:
        entries, several = as_dict(value), as_list(value)
        if entries is not None:
            return [f"{name}={typed(where, key, each)}" for name, each in entries.items()]
        return [typed(where, key, each) for each in ([value] if several is None else several)]
    if option.is_flag:
        if not isinstance(value, bool):
            raise click.UsageError(f"{where}: {key} must be true or false.")
        # One of several flags of one name, e.g. --spot, has a value of its own.
        return option.flag_value if value and isinstance(option.flag_value, str) else value
    return typed(where, key, value)


def typed(where: object, key: str, value: object) -> str:
    """A text or a number as it would be typed."""
    shown = "this"
    with suppress(ValueError, RecursionError):  # thousands of digits; thousands of levels
        shown = plain(repr(value))
        # A command line can't hold a NUL either.
        fits = isinstance(value, (str, int, float)) and not isinstance(value, bool)
        if fits and "\0" not in (text := str(value)):
            return text
    raise click.UsageError(f"{where}: {key} can't be {shown}; write it as with --{key}.")
