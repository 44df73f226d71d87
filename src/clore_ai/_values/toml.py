"""Reads options from a TOML file, with the values as they would be typed. Pure.

All errors are `ValueError`; each begins with `where` the options stand.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from clore_ai._values.kinds import as_dict, as_list
from clore_ai._values.text import plain

if TYPE_CHECKING:
    from collections.abc import Mapping


class Option(NamedTuple):
    """An option that a file may set."""

    name: str
    is_many: bool = False
    """It takes a list of values."""
    flag: object = None
    """A flag's value if it is set: true, or one of several words; None: it is no flag."""


def parsed(where: object, raw: bytes) -> dict[str, Any]:
    """The content of a TOML file."""
    parser: Any = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        content: dict[str, Any] = parser.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as exc:
        raise ValueError(f"{where} can't be read: it is not UTF-8.") from exc
    except (ValueError, RecursionError) as exc:
        why = "it is nested too deep" if isinstance(exc, RecursionError) else plain(str(exc))
        raise ValueError(f"{where} is not valid TOML: {why}.") from exc
    return content


def read(
    where: object, table: Mapping[str, Any], options: Mapping[str, Option], *others: str
) -> dict[str, tuple[str, object]]:
    """Option's name -> its key in the table and its value; keys in `others` are omitted."""
    found: dict[str, tuple[str, object]] = {}
    for key, given in table.items():
        if key in others:
            continue
        option = options.get(key.replace("_", "-"))
        if option is None:
            raise _unknown(where, key, [*options, *others])
        # One of several flags of one name, as --spot is, means nothing when it is false.
        if given is not False or not isinstance(option.flag, str):
            found[option.name] = key, _value(where, key, option, given)
    return found


def _unknown(where: object, key: str, names: list[str]) -> ValueError:
    from difflib import get_close_matches

    key = plain(key)
    near = get_close_matches(key.replace("_", "-"), names, 1, 0.5)
    hint = f" Did you mean {near[0]!r}?" if near else f" It may hold: {', '.join(sorted(names))}."
    return ValueError(f"{where}: there is no option {key!r}.{hint}")


def _value(where: object, key: str, option: Option, value: object) -> object:
    if option.is_many:
        entries, several = as_dict(value), as_list(value)
        if entries is not None:
            return [f"{name}={typed(where, key, each)}" for name, each in entries.items()]
        return [typed(where, key, each) for each in ([value] if several is None else several)]
    if option.flag is not None:
        if not isinstance(value, bool):
            raise ValueError(f"{where}: {key} must be true or false.")
        return option.flag if value and isinstance(option.flag, str) else value
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
    raise ValueError(f"{where}: {key} can't be {shown}; write it as with --{key}.")
