"""The marketplace's clock: it can run faster than the world's and be jumped ahead.

Promises: times are integers, milliseconds since the epoch, and never go back. Safe to read from any
thread. Nothing else in the marketplace reads the time of day.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Clock"]


class Clock:
    """Market time = the world's time when it started, plus `scale` for each second since.

    Args:
        scale: Market seconds per second of the world.
        wall: Gives unix seconds; read once, for the start.
        monotonic: Gives the seconds that pass.
    """

    def __init__(
        self,
        scale: float = 1.0,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if not scale > 0:
            raise ValueError(f"time_scale must be above 0, not {scale}")
        self.scale = scale
        self._monotonic = monotonic
        self._started = monotonic()
        self._base_ms = round(wall() * 1000)
        self._lock = threading.Lock()
        self._on_jump: list[Callable[[], None]] = []

    def now_ms(self) -> int:
        """Market time in milliseconds since the epoch."""
        with self._lock:
            return self._base_ms + int((self._monotonic() - self._started) * self.scale * 1000)

    def jump(self, seconds: float) -> None:
        """Move market time ahead; whoever waits for a time that has now passed is woken."""
        if seconds < 0:
            raise ValueError("the marketplace's clock never goes back")
        with self._lock:
            self._base_ms += round(seconds * 1000)
        for wake in self._on_jump:
            wake()

    def when_jumped(self, wake: Callable[[], None]) -> None:
        """Call `wake` (from any thread) after each jump."""
        self._on_jump.append(wake)

    def world_seconds_until(self, due_ms: int) -> float:
        """How long the world takes until the market reaches `due_ms`; 0 if it has."""
        return max(0.0, (due_ms - self.now_ms()) / 1000 / self.scale)
