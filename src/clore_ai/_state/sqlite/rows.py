"""Rows of our databases as dataclasses; a row that we can't have written is damage. Pure.

A flipped bit in a row's header turns a number into text, and one in a number turns it into a time
in the year 30,000. It is detected here, not by the code that uses the row.
"""

from __future__ import annotations

import math
import sqlite3
from dataclasses import fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Hashable

T = TypeVar("T")

LATEST = 1e11
"""Unix seconds: the year 5138. A greater value is not a time."""
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "bool": (int,),
    "float": (float, int),
    "None": (type(None),),
}
"""The types that a column may hold, by a word of the field's type; text for every other word."""


class DamagedError(sqlite3.DatabaseError):
    """SQLite can read the value, but it can't have been written this way."""


def read(kind: type[T], values: dict[str, Any]) -> T:
    """`kind(**values)` of a row: a dataclass whose values must have the types of its fields.

    Raises:
        DamagedError: one has not, or a number or a time is invalid.
    """
    found: dict[str, Any] = {}
    for name, words in _fields(cast("Hashable", kind)):
        value: object = values[name]
        if not isinstance(value, tuple(t for word in words for t in _TYPES.get(word, (str,)))):
            raise DamagedError(f"a row's {name} can't be {type(value).__name__}")
        if isinstance(value, float):
            if not math.isfinite(value):
                raise DamagedError(f"a row's {name} is not a number")
            if name.endswith("at") and not 0 <= value < LATEST:
                raise DamagedError(f"a row's {name} is not a time")
        found[name] = bool(value) if words == ("bool",) else value
    return kind(**found)


@lru_cache
def _fields(kind: type[Any]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The fields of a dataclass, and the words of their types."""
    return tuple((each.name, tuple(str(each.type).split(" | "))) for each in fields(kind))
