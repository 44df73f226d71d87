"""The local record of what we asked for: every intent to rent, before it is sent.

In memory: it lives as long as the client that holds it. It may do no network I/O.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Literal

State = Literal["open", "created", "refused", "uncertain"]


@dataclass
class Intent:
    """One wish to rent, and what became of it.

    `state`: ``open`` while it is on its way, ``created`` once the order is known, ``refused``
    when the service surely did nothing, ``uncertain`` when an order may exist unseen.
    """

    server_id: int
    type: str
    currency: str
    image: str
    client_ref: str | None = None
    posted_at: float | None = None
    """Unix seconds by the local clock; None before the request was first sent."""
    state: State = "open"
    order_id: int | None = None
    known_ids: frozenset[int] = field(default_factory=frozenset[int], repr=False)
    """All orders just before, ended ones too: a new one is not among them."""


class Ledger:
    """All intents of one client, oldest first. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._intents: list[Intent] = []

    def open(self, intent: Intent) -> Intent | None:
        """Record an intent before anything is sent.

        Under a `client_ref` that is taken nothing is recorded, and the earlier intent returned:
        of two threads with one `client_ref`, one rents.
        """
        with self._lock:
            earlier = self._by_ref(intent.client_ref)
            if earlier is None:
                self._intents.append(intent)
            return earlier

    def intents(self) -> list[Intent]:
        """A copy of the list."""
        with self._lock:
            return list(self._intents)

    def unsettled(self) -> list[Intent]:
        """Intents whose order may exist unseen: sent, and neither created nor refused."""
        return [
            i
            for i in self.intents()
            if i.posted_at is not None and i.state in ("open", "uncertain")
        ]

    def by_ref(self, client_ref: str) -> Intent | None:
        """The newest intent under `client_ref` that was not refused."""
        with self._lock:
            return self._by_ref(client_ref)

    def _by_ref(self, client_ref: str | None) -> Intent | None:
        found = (
            i
            for i in reversed(self._intents)
            if i.client_ref == client_ref and i.state != "refused"
        )
        return None if client_ref is None else next(found, None)
