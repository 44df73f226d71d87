"""The marketplace's clock: it can run faster than real time, stand still, and jump ahead.

Promises: times are integers, milliseconds since the epoch, and never go back, except by `set_to`,
when the whole state is replaced. Safe to use from any thread. Nothing else in the marketplace reads
the time of day.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_SPEED", "Clock", "Course", "checked_speed"]

MAX_SPEED = 1_000_000.0
"""A day in less than a tenth of a second; beyond that, the machine's own speed is the limit."""
_LATEST_MS = 253_402_300_799_000
"""The end of the year 9999, and of Python's calendar."""


@dataclass(frozen=True)
class Course:
    """How a clock runs, for another process of this machine to follow.

    `since` is read from the system's monotonic clock, which all processes of a machine share.
    """

    base_ms: int
    since: float
    speed: float
    frozen: bool


class Clock:
    """Market time = the real time when it started, plus `speed` for each second since.

    Args:
        speed: Market seconds per real second.
        wall: Returns unix seconds; read at the start, and by `set_to`.
        monotonic: The monotonic clock, in seconds.
    """

    def __init__(
        self,
        speed: float = 1.0,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._speed = self._initial_speed = checked_speed(speed)
        self._frozen = False
        self._wall = wall
        self._monotonic = monotonic
        self._since = monotonic()
        self._base_ms = round(wall() * 1000)
        self._lock = threading.Lock()
        self._on_change: list[Callable[[], None]] = []

    @property
    def speed(self) -> float:
        """Market seconds per second, while it is not frozen."""
        return self._speed

    @property
    def frozen(self) -> bool:
        """Whether it stands still."""
        return self._frozen

    def course(self) -> Course:
        """How it runs."""
        with self._lock:
            return Course(self._base_ms, self._since, self._speed, self._frozen)

    def follow(self, course: Course) -> None:
        """Run like another clock."""
        with self._lock:
            self._base_ms, self._since = course.base_ms, course.since
            self._speed, self._frozen = course.speed, course.frozen
        self._changed()

    def now_ms(self) -> int:
        """Market time in milliseconds since the epoch."""
        with self._lock:
            return self._now_ms()

    def _now_ms(self) -> int:
        if self._frozen:
            return self._base_ms
        passed = (self._monotonic() - self._since) * self._speed * 1000
        return min(self._base_ms + int(passed), _LATEST_MS)

    def _rebase(self) -> None:
        """Count from now on; the caller holds the lock, and changes the pace."""
        self._base_ms = self._now_ms()
        self._since = self._monotonic()

    def set_speed(self, speed: float) -> None:
        """Let `speed` market seconds pass in a second; a frozen clock stays frozen."""
        speed = checked_speed(speed)
        with self._lock:
            self._rebase()
            self._speed = speed
        self._changed()

    def freeze(self) -> None:
        """Stop; `jump` still moves it."""
        with self._lock:
            self._rebase()
            self._frozen = True
        self._changed()

    def unfreeze(self) -> None:
        """Run again, at the speed it had."""
        with self._lock:
            self._rebase()
            self._frozen = False
        self._changed()

    def after(self, seconds: float) -> int:
        """The market time in `seconds`; ValueError if it is in the past or beyond the calendar."""
        now = self.now_ms()
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"the marketplace's clock can only move ahead, not by {seconds} s")
        if now + seconds * 1000 > _LATEST_MS:
            raise ValueError(f"{seconds} s from now is beyond the calendar")
        return now + round(seconds * 1000)

    def jump_to(self, due_ms: int) -> None:
        """Move market time ahead to `due_ms`, if it has not come yet."""
        with self._lock:
            self._base_ms += max(0, due_ms - self._now_ms())
        self._changed()

    def set_to(self, now_ms: int | None = None) -> None:
        """Set the time (None: the real time), at the first speed and not frozen.

        Only this can move it back: the caller has cleared the timetable, and replaces the state.
        """
        with self._lock:
            self._base_ms = round(self._wall() * 1000) if now_ms is None else now_ms
            self._since = self._monotonic()
            self._speed = self._initial_speed
            self._frozen = False
        self._changed()

    def _changed(self) -> None:
        for wake in self._on_change:
            wake()

    def when_changed(self, wake: Callable[[], None]) -> None:
        """Call `wake` (from any thread) after each jump, change of speed, freeze and the like."""
        self._on_change.append(wake)

    def world_seconds_until(self, due_ms: int) -> float | None:
        """Real seconds until market time reaches `due_ms`; None if it is frozen."""
        with self._lock:
            left = (due_ms - self._now_ms()) / 1000
            if left <= 0:
                return 0.0
            return None if self._frozen else left / self._speed


def checked_speed(speed: float) -> float:
    """The speed; ValueError if it is out of range."""
    if not 0 < speed <= MAX_SPEED:
        raise ValueError(f"time_scale must be above 0 and at most {MAX_SPEED:.0f}, not {speed}")
    return float(speed)
