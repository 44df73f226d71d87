"""The service's time, from the `Date` of its answers: it governs leases and bills, not our clock.

A `Date` has only whole seconds, so this machine's clock is used while the answers agree with it to
2 s. Between answers, time is counted by the monotonic clock. Pure: times are passed in.
"""

from __future__ import annotations

import re
from datetime import timezone
from email.utils import parsedate_to_datetime

from clore_ai._api.steps import Instant

_AGREES_S = 2.0
_SECONDS = re.compile(r"[0-9]{1,9}")
_LONGEST_S = 1e9
"""Thirty years: a longer wait is nonsense."""


def unix(date: str) -> float | None:
    """An HTTP date as unix seconds; None if it is not a date."""
    try:
        moment = parsedate_to_datetime(date)
        return moment.replace(tzinfo=moment.tzinfo or timezone.utc).timestamp()
    except (TypeError, ValueError, OverflowError, IndexError):
        return None


def retry_after_s(value: str, now: float) -> float | None:
    """The wait in a `Retry-After`, which is in seconds or a date; None if there is none."""
    value = value.strip()
    wait_s = float(value) if _SECONDS.fullmatch(value) else (unix(value) or now) - now
    return wait_s if 0 < wait_s < _LONGEST_S else None


class ServiceClock:
    """The service's clock, as its last answers show it; safe to use from any thread."""

    def __init__(self) -> None:
        # Replaced as a whole, never changed: the service's time at a moment of the monotonic clock.
        self._known: Instant | None = None

    def observe(self, date: str, received: Instant, elapsed_s: float) -> None:
        """Record an answer's `Date`, `received` (local time) `elapsed_s` after the request."""
        second = unix(date)
        if second is None:
            return
        # Its clock minus ours: the answer was sent within that second, at most `elapsed_s` ago.
        least = second - received.wall
        most = least + 1 + elapsed_s
        agrees = least - _AGREES_S <= 0 <= most + _AGREES_S
        ahead_s = 0.0 if agrees else (least + most) / 2
        self._known = Instant(received.wall + ahead_s, received.mono)

    def now(self, local: Instant) -> Instant:
        """The service's time; this machine's, until an answer has come."""
        known = self._known
        if known is None:
            return local
        wall = known.wall + local.mono - known.mono
        return Instant(wall, local.mono, wall - local.wall)
