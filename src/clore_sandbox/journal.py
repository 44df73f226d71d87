"""What really happened: every request, its answer, and whether it changed or read anything.

Kept in memory, the newest `KEPT` of them. Passwords, keys and tokens are not written down.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from clore_sandbox.values import as_object

if TYPE_CHECKING:
    from clore_sandbox.values import JsonObject

__all__ = ["KEPT", "Entry", "Journal", "without_secrets"]

KEPT = 100_000
_SECRET = frozenset({"ssh_password", "jupyter_token", "dockerhub_auth"})
_HIDDEN = "…"


@dataclass(frozen=True)
class Entry:
    """One request.

    `time` is unix seconds of market time, `key` the last characters of the key. `acted` says
    that the call was carried out, whatever answer was then sent; for `create_order`, `order` is
    the order that came of it. `status` None: the connection was cut without an answer.
    """

    time: float
    method: str
    endpoint: str
    key: Optional[str]
    query: str
    body: Optional[JsonObject]
    status: Optional[int]
    code: Optional[int]
    error: Optional[str]
    acted: bool
    order: Optional[int]
    fault: Optional[str]


class Journal:
    """The entries, oldest first."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=KEPT)

    def write(self, entry: Entry) -> None:
        """Add one."""
        self._entries.append(entry)

    def entries(self) -> list[Entry]:
        """A copy."""
        return list(self._entries)

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()


def without_secrets(body: JsonObject) -> JsonObject:
    """The body as the journal keeps it; environment values may be secrets, their names are not."""
    kept = {name: _HIDDEN if name in _SECRET and value else value for name, value in body.items()}
    env = as_object(kept.get("env"))
    if env is not None:
        kept["env"] = dict.fromkeys(env, _HIDDEN)
    return kept
