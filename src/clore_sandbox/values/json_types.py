"""Narrows unknown JSON values to a type; each function returns None for any other type."""

from __future__ import annotations

from typing import cast

__all__ = ["JsonObject", "as_int", "as_list", "as_number", "as_object", "as_text"]

JsonObject = dict[str, object]


def as_object(value: object) -> JsonObject | None:
    """A JSON object."""
    return cast("JsonObject", value) if isinstance(value, dict) else None


def as_list(value: object) -> list[object] | None:
    """A JSON array."""
    return cast("list[object]", value) if isinstance(value, list) else None


def as_int(value: object) -> int | None:
    """A whole number; in JSON 5.0 is one too, `true` is not."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def as_number(value: object) -> int | float | None:
    """A number; `true` is not one."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def as_text(value: object) -> str | None:
    """A string."""
    return value if isinstance(value, str) else None
