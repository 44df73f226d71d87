"""JSON values by kind, for type checkers: what is of another kind is None."""

from __future__ import annotations

from typing import Any


def as_dict(value: object) -> dict[str, Any] | None:
    """`value` if it is an object."""
    return value if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType] # JSON


def as_list(value: object) -> list[Any] | None:
    """`value` if it is an array."""
    return value if isinstance(value, list) else None  # pyright: ignore[reportUnknownVariableType] # JSON


def as_number(value: object) -> float | None:
    """`value` as a float if it is a number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:  # JSON's whole numbers have no end
        return None
