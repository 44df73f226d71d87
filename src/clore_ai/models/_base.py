"""What all models share: unknown fields are kept, and fields have names and aliases (004)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from clore_ai._values.kinds import LAST_ID, as_id, as_list
from clore_ai._values.secrets import conceal

if TYPE_CHECKING:
    from collections.abc import Iterable

_COUNT = re.compile(r"\s*(\d{1,4})\s*x\s", re.IGNORECASE)

LAST_MOMENT = 1e11
"""Unix seconds; a greater number is in milliseconds, or nonsense."""


def _id(value: object) -> int:
    number = as_id(value)
    if number is None:
        raise ValueError("it is no id")
    return number


Id = Annotated[int, BeforeValidator(_id)]
"""The number of a server, an order or an owner; see `as_id`."""
Whole = Annotated[int, Field(ge=-LAST_ID, le=LAST_ID)]
"""A whole number that floats and SQLite can take."""
Moment = Annotated[float, Field(ge=0, lt=LAST_MOMENT)]
"""Unix seconds that a calendar can show."""


class Model(BaseModel):
    """The base of every model: fields that the service adds later stay readable as attributes.

    NaN and infinite numbers count as invalid values.
    """

    model_config = ConfigDict(
        extra="allow",
        populate_by_name=True,
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        hide_input_in_errors=True,
    )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """The fields in the `repr`: no secrets, not even in fields that the service adds later."""
        for name, value in super().__repr_args__():
            yield name, value if name is None else conceal({name: value})[name]


def flat_gpus(gpu_array: object) -> list[str]:
    """The GPU names in `gpu_array`, flattened and stripped.

    Real ones contain leading spaces (``[" RTX 3090"]``) and nested lists (service.md, 3).
    """
    names: list[str] = []
    left: list[object] = [gpu_array]
    while left:
        item = left.pop()
        if isinstance(item, str) and item is not gpu_array:
            names.append(item.strip())
        else:
            left.extend(reversed(as_list(item) or ()))
    return names


def count_gpus(gpu_array: object, gpu: object) -> int:
    """How many GPUs: the length of `gpu_array`, else the ``8x`` that begins `specs.gpu`, else 0."""
    names = flat_gpus(gpu_array)
    if names:
        return len(names)
    prefix = _COUNT.match(gpu) if isinstance(gpu, str) else None
    return int(prefix.group(1)) if prefix else 0


def matches_gpu(wanted: str, gpu_array: object, gpu: object) -> bool:
    """Is `wanted` a part of `specs.gpu` or of a name in `gpu_array`, whatever case and spaces?"""
    needle = _joined(wanted)
    if isinstance(gpu, str) and needle in _joined(gpu):
        return True
    return any(needle in _joined(name) for name in flat_gpus(gpu_array))


def _joined(name: str) -> str:
    return "".join(name.lower().split())


def short_gpu(model: str) -> str:
    """``8x RTX 3090``: a GPU without the names of its maker."""
    return " ".join(model.replace("NVIDIA ", "").replace("GeForce ", "").split())


def bare_gpu(model: str) -> str:
    """``RTX 3090`` of ``8x NVIDIA GeForce RTX 3090``: `short_gpu` without the number."""
    return short_gpu(_COUNT.sub("", model))


def near_gpus(wanted: str, models: Iterable[str | None]) -> list[str]:
    """Up to three models most like `wanted`, by their short names without the count."""
    from difflib import get_close_matches  # takes 4 ms, and only a typo needs it

    names = {bare_gpu(model) for model in models if model}
    by_key = {_joined(name): name for name in sorted(names)}
    return [by_key[key] for key in get_close_matches(_joined(wanted), by_key)]


def describe_gpu(gpu_array: list[Any] | None, gpu: str | None) -> str | None:
    """`specs.gpu` ("1x NVIDIA GeForce RTX 4090"), else the first name in `gpu_array`."""
    if gpu:
        return gpu
    names = flat_gpus(gpu_array)
    return names[0] if names else None
