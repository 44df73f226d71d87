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
    """`value` if it is a number; true and false are none."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
