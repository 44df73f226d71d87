"""`@operation` offers a method of `Control` over HTTP, by its own signature and docstring.

`OPERATIONS` lists them. Their schemas are what http.py checks a request by and what the OpenAPI
document publishes, so the two cannot differ.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar, cast, runtime_checkable

from clore_sandbox.control.schemas import PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from clore_sandbox.control.base import ControlBase
    from clore_sandbox.values.json_types import JsonObject

    F = TypeVar("F", bound=Callable[..., Coroutine[object, object, object]])

__all__ = ["OPERATIONS", "Operation", "operation"]


@dataclass(frozen=True)
class Operation:
    """One control over HTTP.

    `params` and `result` give the JSON Schema of each field; `required` names the parameters that
    cannot be omitted.
    """

    name: str
    method: Literal["GET", "POST"]
    summary: str
    params: Mapping[str, JsonObject]
    required: tuple[str, ...]
    result: Mapping[str, JsonObject]
    max_body: int
    _run: Callable[..., Coroutine[object, object, object]]

    async def call(self, control: ControlBase, given: JsonObject) -> JsonObject:
        """Run the control with checked parameters; the fields of the answer."""
        omitted = {name: None for name in self._nullable if name not in given}
        value = await self._run(control, **omitted, **given)
        if len(self.result) == 1:
            return {name: _as_json(value) for name in self.result}
        return cast("JsonObject", _as_json(value)) if self.result else {}

    @property
    def _nullable(self) -> tuple[str, ...]:
        """Parameters that Python requires and HTTP may omit, which means null."""
        return tuple(set(_without_default(self._run)) - set(self.required))


OPERATIONS: dict[str, Operation] = {}
"""Every control by name, once `clore_sandbox.control` is imported."""


def operation(
    method: Literal["GET", "POST"] = "POST",
    *,
    result: Mapping[str, JsonObject] | None = None,
    max_body: int = 1_000_000,
    params: Mapping[str, JsonObject] | None = None,
) -> Callable[[F], F]:
    """Add the decorated method to `OPERATIONS`.

    Args:
        method: GET has its parameters in the query, POST in a JSON body.
        result: Schemas of the answer's fields. One field holds what the method returns; several
            are the fields of what it returns; none: the answer is empty.
        max_body: Longest body in bytes.
        params: Schemas of parameters that differ from those in `schemas.PARAMETERS`.
    """
    own = params or {}

    def add(run: F) -> F:
        name = run.__name__
        schemas = {
            parameter: own.get(parameter) or PARAMETERS[parameter]
            for parameter in list(inspect.signature(run).parameters)[1:]
        }
        OPERATIONS[name] = Operation(
            name,
            method,
            summary=_summary(run),
            params=schemas,
            required=tuple(
                parameter
                for parameter in _without_default(run)
                if "null" not in cast("list[str]", schemas[parameter]["type"])
            ),
            result=result or {},
            max_body=max_body,
            _run=run,
        )
        return run

    return add


def _without_default(run: Callable[..., object]) -> list[str]:
    parameters = list(inspect.signature(run).parameters.values())[1:]
    return [each.name for each in parameters if each.default is each.empty]


def _summary(run: Callable[..., object]) -> str:
    lines = (inspect.getdoc(run) or "").splitlines()
    return lines[0].rstrip(".") if lines else ""


@runtime_checkable
class _HasJson(Protocol):
    def to_json(self) -> JsonObject: ...


def _as_json(value: object) -> object:
    if isinstance(value, _HasJson):
        return value.to_json()
    if isinstance(value, list):
        return [_as_json(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        fields = cast("JsonObject", value)
        return {name: _amount(inner) for name, inner in fields.items()}
    return value


def _amount(value: object) -> object:
    return f"{value:f}" if isinstance(value, Decimal) else value
