"""What the marketplace's process (the keeper) and its workers say to each other."""

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
    """To a worker: the clock as it goes now, and whether a fault waits for a request."""

    clock: Course
    faults: bool


@dataclass(frozen=True)
class Setup:
    """To a worker, first of all, answered once it serves. The database's password goes in here."""

    db: str
    dialect: Dialect
    delays: Delays
    rates: dict[str, float]
    limited: bool
    step: Step


@dataclass(frozen=True)
class Show:
    """To a worker: what the listing shows from now on, by one change after the other."""

    changes: list[FollowUp]


@dataclass(frozen=True)
class Reload:
    """To a worker: another state is in the store."""


@dataclass(frozen=True)
class Stop:
    """To a worker: answer what you have begun, and end."""


@dataclass(frozen=True)
class Follow:
    """To the keeper: a transaction has changed the market; answered once that shows everywhere.

    With `wait`, also once its rooms have ended, and those that boot have their ports.
    """

    follow_up: FollowUp
    wait: bool


@dataclass(frozen=True)
class Admit:
    """To the keeper: is a call within the pace? Answered with a bool."""

    account: int
    endpoint: str
    now_ms: int


@dataclass(frozen=True)
class Note:
    """To the keeper: for the journal."""

    entries: list[Entry]


@dataclass(frozen=True)
class HttpRequest:
    """To the keeper: answer this request yourself. Answered with an `HttpAnswer`."""

    method: str
    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes
    client: tuple[str, int] | None


@dataclass(frozen=True)
class HttpAnswer:
    """What goes back; a status of None cuts the connection."""

    status: int | None
    headers: list[tuple[bytes, bytes]]
    body: bytes
