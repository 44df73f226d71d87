"""One request to the service, and its answer. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")
Body = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """The raw answer."""

    status: int
    content_type: str
    content: bytes = field(repr=False)
    location: str | None = None
    whole: bool = True
    """False if the answer exceeded its limit; the content is then its beginning."""
    retry_after_s: float | None = None
    """How long the service asks to wait before the next request (`Retry-After`)."""


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request and how to read its answer.

    `repeatable`: it may be sent again even if the service may have acted on it.
    `already`: the reason with which a repeated call is refused if the service acted on the first.
    """

    method: Literal["GET", "POST"]
    path: str
    parse: Callable[[Body], T]
    params: Mapping[str, str] | None = None
    body: Mapping[str, object] | None = None
    needs_key: bool = True
    repeatable: bool = True
    already: str | None = None
    is_create_order: bool = False
