"""Removes fields or records from an answer, or gives fields odd values; pure.

The odd values are of the kinds that service.md, 3 reports of the real service: numbers as text or
null, names behind a space, nested lists, null for an object. A record keeps its number unless it is
named in `fields`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_sandbox.values.json_types import as_list, as_object

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from clore_sandbox.values.json_types import JsonObject

__all__ = ["odd", "without", "without_rows"]

_KEPT = frozenset({"code", "error", "id", "si", "servers", "orders", "wallets", "market", "config"})
"""Not changed unless named: the envelope, and the numbers of records."""
_ONE_IN = 4
"""Without named fields, one in this many gets an odd value."""


def without(body: JsonObject, fields: Sequence[str]) -> JsonObject:
    """The body without the fields of these names, at any depth; by default only its code."""
    if not fields:
        return {"code": body.get("code")}
    return {
        name: _each(value, lambda inner: without(inner, fields))
        for name, value in body.items()
        if name not in fields
    }


def without_rows(body: JsonObject, ids: Sequence[str]) -> JsonObject:
    """The body without the records that have these ids; by default its lists are empty."""

    def stays(record: object) -> bool:
        return bool(ids) and str((as_object(record) or {}).get("id")) not in ids

    return {
        name: value if (rows := as_list(value)) is None else [row for row in rows if stays(row)]
        for name, value in body.items()
    }


def odd(body: JsonObject, fields: Sequence[str], draw: random.Random) -> JsonObject:
    """The body with odd values in these fields, at any depth; by default in one in four."""

    def make_odd(name: str, value: object) -> object:
        chosen = name in fields if fields else name not in _KEPT and not draw.randrange(_ONE_IN)
        if chosen:
            return _odd_value(value, draw)
        return _each(value, lambda inner: odd(inner, fields, draw))

    return {name: make_odd(name, value) for name, value in body.items()}


def _each(value: object, change: Callable[[JsonObject], JsonObject]) -> object:
    inner, items = as_object(value), as_list(value)
    if inner is not None:
        return change(inner)
    return value if items is None else [_each(item, change) for item in items]


def _odd_value(value: object, draw: random.Random) -> object:
    choices: list[object] = [None]
    if isinstance(value, bool):
        choices += [int(value), str(value).lower()]
    elif isinstance(value, (int, float)):
        choices += [str(value), "", 0, float(value)]
    elif isinstance(value, str):
        choices += [f" {value}", "", [value]]
    elif isinstance(value, list):
        choices += [[], [value], ""]
    else:
        choices += [{}, []]
    return draw.choice(choices)
