"""The messages between the keeper and its workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clore_sandbox.api.order_shapes import Dialect
    from clore_sandbox.books.lifecycle import Delays
    from clore_sandbox.faults.journal import Entry
    from clore_sandbox.market.clock import Course
    from clore_sandbox.market.follow_up import FollowUp

__all__ = [
    "Admit",
    "Follow",
    "HttpAnswer",
    "HttpRequest",
    "Note",
    "Reload",
    "Setup",
    "Show",
    "Step",
    "Stop",
]


@dataclass(frozen=True)
class Step:
    """To a worker: the current clock, and whether a fault is pending."""

    clock: Course
    faults: bool


@dataclass(frozen=True)
class Setup:
    """To a worker, first of all; answered once it serves. May hold the database's password."""

    db: str
    dialect: Dialect
    delays: Delays
    rates: dict[str, float]
    limited: bool
    step: Step


@dataclass(frozen=True)
class Show:
    """To a worker: changes to show, in order."""

    changes: list[FollowUp]


@dataclass(frozen=True)
class Reload:
    """To a worker: the whole state in the store was replaced."""


@dataclass(frozen=True)
class Stop:
    """To a worker: finish the answers that have begun, and end."""


@dataclass(frozen=True)
class Follow:
    """To the keeper: what follows a transaction; answered once every worker shows it.

    With `wait`, only after its rooms have ended, and those that boot have their ports.
    """

    follow_up: FollowUp
    wait: bool


@dataclass(frozen=True)
class Admit:
    """To the keeper: does a call keep the rate limits? Answered with a bool."""

    account: int
    endpoint: str
    now_ms: int


@dataclass(frozen=True)
class Note:
    """To the keeper: entries for the journal."""

    entries: list[Entry]


@dataclass(frozen=True)
class HttpRequest:
    """To the keeper: answer this request. Answered with an `HttpAnswer`."""

    method: str
    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    client: tuple[str, int] | None


@dataclass(frozen=True)
class HttpAnswer:
    """The answer to the client; a status of None cuts the connection."""

    status: int | None
    headers: list[tuple[bytes, bytes]]
    body: bytes
