"""Reads a file of watches: one ``[[watch]]`` table each, of options by their names. Pure."""

from __future__ import annotations

from typing import Any

from clore_ai._values import toml
from clore_ai._values.kinds import as_dict, as_list
from clore_ai.exceptions import InvalidInputError


def tables(where: object, raw: bytes) -> dict[str, dict[str, Any]]:
    """Name of a watch -> its options.

    Raises:
        InvalidInputError: it is not TOML, holds no watches or something else, or a name twice.
    """
    try:
        content = toml.parsed(where, raw)
    except ValueError as exc:
        raise InvalidInputError(str(exc)) from exc
    listed = content.pop("watch", None)
    if content:
        raise InvalidInputError(
            f"{where}: {next(iter(content))!r} is outside a [[watch]] table; start each watch with "
            "the line [[watch]]."
        )
    rows = [as_dict(row) for row in as_list(listed) or []]
    if not rows:
        raise InvalidInputError(f"{where} holds no watches; start each with the line [[watch]].")
    found: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(rows, 1):
        if row is None:
            raise InvalidInputError(f"{where}: write [[watch]], in two brackets.")
        options = dict(row)
        name = str(options.pop("name", f"watch {number}"))
        if name in found:
            raise InvalidInputError(f"{where}: two watches have the name {name!r}.")
        found[name] = options
    return found
