"""The journal: every request, its answer, and whether it was carried out.

The newest `KEPT` entries are kept in memory, without passwords, keys and tokens. Answers are kept
as they were sent, up to `LONGEST_ANSWER` bytes each and `ANSWERS_KEPT` bytes in all, so that a
client that polls for a week does not fill the memory.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from clore_sandbox.values.json_types import as_list, as_object

if TYPE_CHECKING:
    from clore_sandbox.values.json_types import JsonObject

__all__ = ["KEPT", "Entry", "Journal", "Sent", "shown_key", "without_secrets"]

KEPT = 100_000
LONGEST_ANSWER = 64 * 1024
ANSWERS_KEPT = 32 * 1024 * 1024
_LONG_KEY = 12
"""The end of a shorter key would reveal too much of it."""
_SECRET = frozenset(
    {"ssh_password", "jupyter_token", "dockerhub_auth", "init_token", "auth", "api_key"}
)
_HIDDEN = "…"


@dataclass
class Sent:
    """The bytes of an answer; None if there was none, or they are no longer kept."""

    body: bytes | None = None


@dataclass(frozen=True)
class Entry:
    """One request.

    `number` counts from 1. `time` is unix seconds of market time, `key` the last characters of
    the key. `acted`: the call was carried out, whatever answer was then sent; for
    `create_order`, `order` is the order that it created. `status` None: the connection was cut
    without an answer. `code` and `error` are those of the answer that was sent, `fault` is the
    kind of the fault that changed it.
    """

    time: float
    method: str
    endpoint: str
    key: str | None
    query: str
    body: JsonObject | None
    status: int | None
    code: int | None
    error: str | None
    acted: bool
    order: int | None
    fault: str | None
    number: int = 0
    sent: Sent = field(default_factory=Sent, repr=False, compare=False)

    @property
    def answer(self) -> JsonObject | str | None:
        """The body that was sent, without secrets: JSON, or text if it was not JSON.

        None if the connection was cut, or the body is not kept: answers of `marketplace` are
        longer than `LONGEST_ANSWER`.
        """
        if self.sent.body is None:
            return None
        try:
            body = as_object(orjson.loads(self.sent.body))
        except ValueError:
            body = None
        if body is None:
            return self.sent.body.decode(errors="replace")
        return without_secrets(body)

    def to_json(self) -> JsonObject:
        """All fields."""
        names = ("number", "time", "method", "endpoint", "key", "query", "body", "status", "code")
        fields: JsonObject = {name: getattr(self, name) for name in names}
        fields |= {"error": self.error, "answer": self.answer, "acted": self.acted}
        return fields | {"order": self.order, "fault": self.fault}


class Journal:
    """The entries, oldest first; safe to use from any thread."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._bodies: deque[Sent] = deque()
        self._bytes = 0
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def number(self) -> int:
        """The next entry's number."""
        return next(self._numbers)

    def write(self, entry: Entry) -> None:
        """Add one."""
        sent = entry.sent
        if sent.body is not None and len(sent.body) > LONGEST_ANSWER:
            sent.body = None
        with self._lock:
            self._entries.append(entry)
            if sent.body is not None:
                self._bodies.append(sent)
                self._bytes += len(sent.body)
            while self._bytes > ANSWERS_KEPT or len(self._bodies) > KEPT:
                oldest = self._bodies.popleft()
                self._bytes -= len(oldest.body or b"")
                oldest.body = None

    def entries(self, endpoint: str | None = None, after: int = 0) -> list[Entry]:
        """A copy; only of one endpoint, or after the entry with this number, if given."""
        with self._lock:
            entries = list(self._entries)
        return [e for e in entries if e.number > after and endpoint in (None, e.endpoint)]

    def clear(self) -> None:
        """Delete all entries; the numbers continue."""
        with self._lock:
            self._entries.clear()
            self._bodies.clear()
            self._bytes = 0


def shown_key(key: str | None) -> str | None:
    """The part of a key that may be shown."""
    if not key:
        return None
    return f"{_HIDDEN}{key[-4:]}" if len(key) >= _LONG_KEY else _HIDDEN


def without_secrets(body: JsonObject) -> JsonObject:
    """The body as the journal keeps it: without secrets, and without environment values."""
    kept: JsonObject = {}
    for name, value in body.items():
        env = as_object(value) if name == "env" else None
        if name in _SECRET and value:
            kept[name] = _HIDDEN
        elif env is not None:
            kept[name] = dict.fromkeys(env, _HIDDEN)
        else:
            kept[name] = _cleaned(value)
    return kept


def _cleaned(value: object) -> object:
    inner, items = as_object(value), as_list(value)
    if inner is not None:
        return without_secrets(inner)
    return value if items is None else [_cleaned(item) for item in items]
