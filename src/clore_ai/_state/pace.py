"""The pace of all processes that share a store: reserve, then sleep (004, Rate Limiter).

A sender reserves the first free time, sleeps until then, and checks once more before it sends: the
request before may have been late, or a backoff may have come.

- A process reserves at most one time ahead, for whichever of its threads and tasks is first. So a
  hundred calls of one process delay a call of another by one gap, and a process that is killed or
  stopped costs the others one gap.
- `create_order` reserves nothing until its own, longer gap is over: other calls may go before it.
- The service counts arrivals, and network delays vary, so each gap has a margin.

Pure except for the store: the clock is passed in. It is read inside a transaction, which may have
waited for another.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Callable, NamedTuple

from clore_ai._state.sqlite.rows import read
from clore_ai._state.store import Store, transaction

if TYPE_CHECKING:
    import sqlite3

Clock = Callable[[], float]
MARGIN = 0.08
"""Share of the interval kept in reserve: 0.93 of the allowed rate, 80 ms for varying delays."""
HORIZON_S = 3600.0
"""A time further in the future than this is from before a reboot."""
_LEAST = 1 + MARGIN / 2
"""Half the margin may be used to catch up after a late request."""


class Gaps(NamedTuple):
    """The required seconds between two requests, and between two `create_order`."""

    any_s: float
    create_s: float


@dataclass
class Times:
    """The earliest times of the next requests, on one monotonic clock."""

    noted: float = 0.0
    """When this was written."""
    next: float = 0.0
    """The first time that is not reserved."""
    floor: float = 0.0
    """No request is sent before this, reserved or not: after the last request, or a backoff."""
    create_order: float = 0.0
    """As `floor`, for `create_order`."""

    def reserve(self, gaps: Gaps, now: float) -> float:
        """The first free time."""
        at = max(now, self.next)
        self.next = at + gaps.any_s * (1 + MARGIN)
        return at

    def went(self, gaps: Gaps, now: float, *, is_create_order: bool) -> None:
        """Record that a request is sent now: the next keeps its distance."""
        self.floor = max(self.floor, now + gaps.any_s * _LEAST)
        if self.next < self.floor:
            self.next = now + gaps.any_s * (1 + MARGIN)
        if is_create_order:
            self.create_order = now + gaps.create_s * (1 + MARGIN)

    def hold(self, until: float) -> None:
        """Let nobody send before `until`."""
        self.next, self.floor = max(self.next, until), max(self.floor, until)

    def believed(self, gaps: Gaps, now: float) -> Times:
        """These times; if they are from before a reboot, those after a request just now."""
        latest = max(self.next, self.floor, self.create_order)
        if self.noted <= now and latest <= now + HORIZON_S:
            return self
        anew = Times(now)
        anew.went(gaps, now, is_create_order=True)
        return anew


class Pace:
    """The pace of one key, for all processes of this machine that share the store."""

    def __init__(self, store: Store | None = None, key: str = "") -> None:
        self.store, self._key = store or Store(), key
        self._at: float | None = None
        """The time that this process has reserved; changed only inside transactions."""
        self._went = 0.0

    def look(self, gaps: Gaps, clock: Clock, *, is_create_order: bool) -> float:
        """Seconds until the next look; 0: send now.

        Raises:
            ConfigError: the store can't be read or written.
        """
        at = self._at
        pause_s = 0.0 if at is None else at - clock()
        return pause_s if pause_s > 0 else self._look(gaps, clock, is_create_order)

    @transaction
    def _look(
        self, db: sqlite3.Connection, gaps: Gaps, clock: Clock, is_create_order: bool
    ) -> float:
        now = clock()
        times = self._read(db, gaps, now)
        if is_create_order and times.create_order > max(now, times.next):
            return times.create_order - now
        gap = gaps.any_s * (1 + MARGIN)
        if self._at is None or times.floor - now > gap:  # a backoff came: reserve again
            self._at = times.reserve(gaps, now)
        elif times.floor > now:
            self._at = times.floor  # the request before was late
        pause_s = self._at - now
        if pause_s <= 0:
            times.went(gaps, now, is_create_order=is_create_order)
            self._at, self._went = None, now
        self._write(db, times, now)
        return max(0.0, pause_s)

    def sent(self, gaps: Gaps, clock: Clock, *, is_create_order: bool) -> None:
        """Record that a request was sent just now: if it was late, the next keeps its distance.

        Raises:
            ConfigError: as in `look`.
        """
        if clock() - self._went > gaps.any_s * MARGIN / 2:
            self.went(gaps, clock, is_create_order)

    @transaction
    def went(self, db: sqlite3.Connection, gaps: Gaps, clock: Clock, is_create_order: bool) -> None:
        """Record a request as if its turn had just come.

        Raises:
            ConfigError: as in `look`.
        """
        now = clock()
        times = self._read(db, gaps, now)
        times.went(gaps, now, is_create_order=is_create_order)
        self._write(db, times, now)

    @transaction
    def hold(self, db: sqlite3.Connection, gaps: Gaps, clock: Clock, seconds: float) -> None:
        """Let nobody send for `seconds`, an hour at most.

        Raises:
            ConfigError: as in `look`.
        """
        now = clock()
        times = self._read(db, gaps, now)
        times.hold(now + min(seconds, HORIZON_S))
        self._write(db, times, now)

    def _read(self, db: sqlite3.Connection, gaps: Gaps, now: float) -> Times:
        row = db.execute(
            "SELECT noted, next, floor, create_order FROM pace WHERE (key, machine) = (?, ?)",
            (self._key, self.store.machine),
        ).fetchone()
        return Times() if row is None else read(Times, dict(row)).believed(gaps, now)

    def _write(self, db: sqlite3.Connection, times: Times, now: float) -> None:
        times.noted = now
        db.execute(
            "INSERT OR REPLACE INTO pace VALUES (?, ?, ?, ?, ?, ?)",
            (self._key, self.store.machine, *astuple(times)),
        )
