"""JSON values by kind, for type checkers: a value of another kind becomes None."""

from __future__ import annotations

import re
from math import isfinite
from typing import Any

_DIGITS = re.compile(r"[0-9]{1,19}")
LAST_ID = 2**63 - 1
"""The greatest number that SQLite can hold."""


def as_dict(value: object) -> dict[str, Any] | None:
    """`value` if it is an object."""
    return value if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType] # JSON


def as_list(value: object) -> list[Any] | None:
    """`value` if it is an array."""
    return value if isinstance(value, list) else None  # pyright: ignore[reportUnknownVariableType] # JSON


def as_number(value: object) -> float | None:
    """`value` as a float if it is a finite number; true and false are not numbers."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:  # JSON's whole numbers have no limit
        return None
    return number if isfinite(number) else None


def as_id(value: object) -> int | None:
    """`value` if it can be a record's id: whole, above 0, below 2**63; digits in a string, too."""
    if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 < value <= LAST_ID else None


def written(value: object, *, indent: int | None = None) -> str:
    """`value` as JSON in ASCII; NaN and infinite numbers, which JSON lacks, become null."""
    import json  # slow to import, and help needs none

    try:
        return json.dumps(value, indent=indent, default=str, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), indent=indent, default=str)


def _finite(value: object) -> object:
    entries, items = as_dict(value), as_list(value)
    if entries is not None:
        return {name: _finite(inner) for name, inner in entries.items()}
    if items is not None:
        return [_finite(item) for item in items]
    return None if isinstance(value, float) and not isfinite(value) else value
