"""Bytes to JSON, raw records to models: fast, and without ever failing on one odd field.

A value of an unexpected form is left out (the attribute is None) and logged; a record that lacks
its id is left out. So one odd server among thousands never costs the user the whole answer.
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
"""More than the longest answer that is read needs, and no more than a few seconds allow."""
_MOST_DIGITS = 4_000
"""Python reads 4,300, and pydantic."""


def read_json(content: bytes) -> tuple[object, bool]:
    """The value that `content` holds, and whether it may hold a text that is not fit to print.

    pydantic's parser takes 12 ms for 3,500 servers where `json` takes 28. What it refuses and can
    be read is read all the same: a byte-order mark, half of a surrogate pair, a bare control
    character, bytes that are no UTF-8, a number of thousands of digits (None).

    Raises:
        ValueError: it is not JSON, or holds too many values.
        RecursionError: it is far too deep.
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
    """All records as models, in their order; those without an id are left out."""
    collects = gc.isenabled()
    try:
        # Thousands of new objects and no garbage: for 3,500 servers the cyclic collector would
        # double the time (70 ms without, 159 with it). Other threads just collect a bit later.
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
        ResponseError: it lacks what no such record can do without.
    """
    cleaned: Any = record
    while True:  # one odd alias may hide another; every round leaves something out
        try:
            return kind.model_validate(cleaned)
        except ValidationError as exc:
            odd = [e["loc"] for e in exc.errors(include_input=False, include_context=False)]
            failure = exc
        # Backwards: what goes from a list moves what follows it.
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
    """A copy of `value` without its entry at `loc`; `_GONE` where there is no such entry."""
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
