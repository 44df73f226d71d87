"""Narrowing values of unknown JSON; each answers None for what is not of the kind."""

from __future__ import annotations

from typing import Optional, Union, cast

__all__ = ["JsonObject", "as_int", "as_list", "as_number", "as_object", "as_text"]

JsonObject = dict[str, object]


def as_object(value: object) -> Optional[JsonObject]:
    """A JSON object."""
    return cast("JsonObject", value) if isinstance(value, dict) else None


def as_list(value: object) -> Optional[list[object]]:
    """A JSON array."""
    return cast("list[object]", value) if isinstance(value, list) else None


def as_int(value: object) -> Optional[int]:
    """A whole number; in JSON 5.0 is one too. `true` is none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def as_number(value: object) -> Optional[Union[int, float]]:
    """A number; `true` is none."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def as_text(value: object) -> Optional[str]:
    """A string."""
    return value if isinstance(value, str) else None
