"""The rate limits of a key; pure: the time is passed in.

service.md, 3: one request a second over all endpoints, and one `create_order` per 5 s.
The server counts arrivals, so the windows are strict: a call that arrives less than a window after
the last *accepted* one is refused. Refused and unauthenticated calls do not extend a window, so a
client that backs off by a window is always accepted. (Lowering a spot price once in 600 s belongs
to the auction's rules: its answer is not code 5.)
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["CREATE_ORDER_WINDOW_MS", "WINDOW_MS", "Limits"]

WINDOW_MS = 1_000
CREATE_ORDER_WINDOW_MS = 5_000


@dataclass
class Limits:
    """The windows of all keys.

    `GET marketplace` without a key has no limit: the service's limits are per key, and on loopback
    all clients have the same address, so that a limit per address would make them block each other.
    """

    window_ms: int = WINDOW_MS
    create_order_window_ms: int = CREATE_ORDER_WINDOW_MS
    _last: dict[int, int] = field(default_factory=dict[int, int])
    _last_create: dict[int, int] = field(default_factory=dict[int, int])

    def admit(self, account: int, endpoint: str, now_ms: int) -> bool:
        """Whether this arrival is within the limits; if it is, it starts its windows."""
        last = self._last.get(account)
        if last is not None and now_ms - last < self.window_ms:
            return False
        if endpoint == "create_order":
            last = self._last_create.get(account)
            if last is not None and now_ms - last < self.create_order_window_ms:
                return False
            self._last_create[account] = now_ms
        self._last[account] = now_ms
        return True

    def forget(self) -> None:
        """Open all windows."""
        self._last.clear()
        self._last_create.clear()
