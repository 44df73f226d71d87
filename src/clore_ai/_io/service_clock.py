"""The service's time, from the `Date` of its answers: leases and bills go by it, not by ours.

A `Date` says only in which second an answer was sent, so this machine's clock is kept where the
answers agree with it to 2 s. Between answers time is counted by the clock that never jumps. Pure:
it is told the times.
"""

from __future__ import annotations

import re
from datetime import timezone
from email.utils import parsedate_to_datetime

from clore_ai._api.steps import Instant

_AGREES_S = 2.0
_SECONDS = re.compile(r"[0-9]{1,9}")
_LONGEST_S = 1e9
"""Thirty years: a longer wait is a joke."""


def unix(date: str) -> float | None:
    """An HTTP date as unix seconds; None if it is no date."""
    try:
        moment = parsedate_to_datetime(date)
        return moment.replace(tzinfo=moment.tzinfo or timezone.utc).timestamp()
    except (TypeError, ValueError, OverflowError, IndexError):
        return None


def retry_after_s(value: str, now: float) -> float | None:
    """How long a `Retry-After` asks to wait: seconds, or a date; None if it asks for no wait."""
    value = value.strip()
    wait_s = float(value) if _SECONDS.fullmatch(value) else (unix(value) or now) - now
    return wait_s if 0 < wait_s < _LONGEST_S else None


class ServiceClock:
    """What the last answers told of the service's clock; safe to use from any thread."""

    def __init__(self) -> None:
        # Replaced as one, never changed: the service's time at a moment of the steady clock.
        self._known: Instant | None = None

    def observe(self, date: str, received: Instant, elapsed_s: float) -> None:
        """An answer with this `Date` was received (local time), `elapsed_s` after the request."""
        second = unix(date)
        if second is None:
            return
        # Its clock less ours: it was sent within that second, and at the latest `elapsed_s` ago.
        least = second - received.wall
        most = least + 1 + elapsed_s
        agrees = least - _AGREES_S <= 0 <= most + _AGREES_S
        ahead_s = 0.0 if agrees else (least + most) / 2
        self._known = Instant(received.wall + ahead_s, received.mono)

    def now(self, local: Instant) -> Instant:
        """The service's time; this machine's, until an answer has told."""
        known = self._known
        if known is None:
            return local
        wall = known.wall + local.mono - known.mono
        return Instant(wall, local.mono, wall - local.wall)
