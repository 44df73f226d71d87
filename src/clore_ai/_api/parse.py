"""Turns bytes into JSON and raw records into models: fast, and never failing on a single field.

A value of an unexpected form is omitted (the attribute is None) and logged; a record without its id
is omitted. So one odd server among thousands never costs the user the whole answer.
"""

from __future__ import annotations

import gc
import json
import logging
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import from_json

from clore_ai._api.clean import may_be_unfit, rebuilt
from clore_ai._values.kinds import as_dict, as_list
from clore_ai._values.text import plain
from clore_ai.exceptions import ResponseError

M = TypeVar("M", bound=BaseModel)
_log = logging.getLogger("clore_ai")
_MOST_VALUES = 8_000_000
"""More than the longest readable answer needs, and few enough to parse within seconds."""
_MOST_DIGITS = 4_000
"""Python and pydantic read 4,300."""


def read_json(content: bytes) -> tuple[object, bool]:
    """The value of `content`, and whether it may hold a text that is not fit to print.

    pydantic's parser takes 12 ms for 3,500 servers, and `json` 28. Some content that it refuses is
    still read: a byte-order mark, half a surrogate pair, a bare control character, bytes that are
    not UTF-8, a number of thousands of digits (None).

    Raises:
        ValueError: it is not JSON, or holds too many values.
        RecursionError: it is nested too deeply.
    """
    if content.count(b",") > _MOST_VALUES:
        raise ValueError("too many values")
    try:
        return from_json(content), may_be_unfit(content)
    except ValueError:
        text = content.decode(json.detect_encoding(content), "replace")
        return rebuilt(json.loads(text, strict=False, parse_int=_whole), str), True


def _whole(digits: str) -> int | None:
    return int(digits) if len(digits) <= _MOST_DIGITS else None


@cache
def _adapter(kind: type[M]) -> TypeAdapter[list[M]]:
    return TypeAdapter(list[kind])  # type: ignore[valid-type]  # a type made at run time


def models(kind: type[M], records: list[dict[str, Any]]) -> list[M]:
    """All records as models, in their order; records without an id are omitted."""
    collects = gc.isenabled()
    try:
        # Thousands of new objects and no garbage: for 3,500 servers the cyclic collector would
        # double the time (159 ms instead of 70). Other threads just collect a bit later.
        gc.disable()
        return _adapter(kind).validate_python(records)
    except ValidationError:
        found: list[M] = []
        for record in records:
            try:
                found.append(model(kind, record))
            except ResponseError as exc:
                _log.warning("omitted a record: %s", exc)
        return found
    finally:
        if collects:
            gc.enable()


def model(kind: type[M], record: dict[str, Any]) -> M:
    """One record as a model.

    Raises:
        ResponseError: it lacks a required field.
    """
    cleaned: Any = record
    while True:  # one bad alias may hide another; every round omits something
        try:
            return kind.model_validate(cleaned)
        except ValidationError as exc:
            odd = [e["loc"] for e in exc.errors(include_input=False, include_context=False)]
            failure = exc
        # Backwards: removing an item of a list moves those after it.
        for loc in reversed(odd):
            where = plain(f"{record.get('id')}: unexpected value at {loc}")
            _log.warning("%s %s", kind.__name__, where)
            cleaned = _without(cleaned, loc)
        if cleaned is _GONE:
            where = plain(".".join(str(p) for p in odd[0]))
            raise ResponseError(
                f"The service sent a {kind.__name__} without a usable {where!r}.", None, record
            ) from failure


_GONE = object()


def _without(value: Any, loc: tuple[int | str, ...]) -> Any:  # noqa: ANN401 - JSON
    """A copy of `value` without its entry at `loc`; `_GONE` if there is no such entry."""
    if not loc:
        return _GONE
    key, entries, items = loc[0], as_dict(value), as_list(value)
    if entries is not None and key in entries:
        inner = _without(entries[str(key)], loc[1:])
        return {
            k: inner if k == key else v
            for k, v in entries.items()
            if k != key or inner is not _GONE
        }
    if items is not None and isinstance(key, int) and key < len(items):
        inner = _without(items[key], loc[1:])
        return items[:key] + ([] if inner is _GONE else [inner]) + items[key + 1 :]
    return _GONE
