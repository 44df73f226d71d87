"""Checks JSON against the part of JSON Schema that the controls use; pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from clore_sandbox.values.json_types import as_int, as_list, as_number, as_object, as_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from clore_sandbox.values.json_types import JsonObject

__all__ = ["check", "check_fields", "from_query"]

_KINDS: Mapping[str, Callable[[object], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "number": lambda value: as_number(value) is not None,
    "integer": lambda value: as_int(value) is not None,
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "null": lambda value: value is None,
}


def check(value: object, schema: Mapping[str, object], name: str) -> None:
    """ValueError if a value does not match its schema."""
    several = as_list(schema["type"])
    kinds = [str(kind) for kind in several or [schema["type"]]]
    if not any(_KINDS[kind](value) for kind in kinds):
        raise ValueError(f"{name} must be of type {' or '.join(kinds)}")
    if "enum" in schema and value not in cast("list[object]", schema["enum"]):
        raise ValueError(f"{name} must be one of {schema['enum']}")
    text, number = as_text(value), as_number(value)
    if text is not None and "pattern" in schema and not re.search(str(schema["pattern"]), text):
        raise ValueError(f"{name} must match {schema['pattern']}")
    if text is not None:
        _check_length(text, schema, name)
    if number is not None:
        _check_range(number, schema, name)
    for position, item in enumerate(as_list(value) or []):
        check(item, cast("JsonObject", schema["items"]), f"{name}[{position}]")
    if "properties" in schema:
        properties = cast("Mapping[str, JsonObject]", schema["properties"])
        check_fields(as_object(value) or {}, properties, name)
    others = as_object(schema.get("additionalProperties"))
    if others is not None:
        for field, inner in (as_object(value) or {}).items():
            check(inner, others, f"{name}.{field}")


def _check_length(text: str, schema: Mapping[str, object], name: str) -> None:
    least, most = as_number(schema.get("minLength")), as_number(schema.get("maxLength"))
    if (least is not None and len(text) < least) or (most is not None and len(text) > most):
        raise ValueError(f"{name} must have {least or 0} to {most} characters")


def _check_range(number: float, schema: Mapping[str, object], name: str) -> None:
    least, above = as_number(schema.get("minimum")), as_number(schema.get("exclusiveMinimum"))
    most = as_number(schema.get("maximum"))
    if (least is not None and number < least) or (above is not None and number <= above):
        raise ValueError(f"{name} must be {'at least' if above is None else 'above'} {least or 0}")
    if most is not None and number > most:
        raise ValueError(f"{name} must be at most {most}")


def check_fields(given: JsonObject, schemas: Mapping[str, JsonObject], where: str) -> None:
    """ValueError for an unknown field, or a value that does not match its schema."""
    for name, value in given.items():
        if name not in schemas:
            raise ValueError(f"{where} has no {name}; there are {', '.join(schemas) or 'none'}")
        check(value, schemas[name], name)


def from_query(text: str, schema: Mapping[str, object]) -> object:
    """The value of a query parameter's text."""
    if schema["type"] == "integer" and re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    return text
