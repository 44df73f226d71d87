"""One pace for one key: reserve a send time under a short lock, then sleep (004, Rate Limiter).

The lock is never held across a wait, so one limiter serves threads and tasks alike. The service
counts arrivals (api.md, 1), and requests travel at uneven speed, so the spacing keeps a margin.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MARGIN = 0.08
"""Share of the interval kept in reserve: 0.93 of the allowed rate, 80 ms for uneven travel."""


class RateLimiter:
    """Spaces requests; both attributes may be changed at any time.

    - `min_interval`: seconds between any two requests (1 / `requests_per_second`).
    - `create_order_delay`: seconds between two `create_order` calls.

    Each is stretched by `MARGIN`. After code 5 the client calls `set_backoff`: nothing is sent
    before it is over. 0 for both means no pacing, for a marketplace without limits.
    """

    def __init__(
        self,
        requests_per_second: float = 1.0,
        create_order_delay: float = 5.0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if requests_per_second <= 0 or create_order_delay < 0:
            raise ValueError("requests_per_second must be above 0, create_order_delay not below")
        self.min_interval = 1.0 / requests_per_second
        self.create_order_delay = create_order_delay
        self._clock = clock
        self._lock = threading.Lock()
        self._slots: list[float] = []  # reserved send times
        self._creates: list[float] = []  # those of create_order; the last past one is kept
        self._overtaken = 0  # how many lost their time to a late request and may go first
        self._first: list[float] = []  # the times that those have instead
        self._last_sent = float("-inf")
        self._not_before = float("-inf")

    @classmethod
    def at_pace(cls, requests_per_second: float) -> RateLimiter:
        """The service's two delays at this pace; above 1 a second both shrink alike.

        The service allows 1: who sets more has a marketplace that allows it, `create_order` too.
        """
        return cls(requests_per_second, 5.0 / max(1.0, requests_per_second))

    def reserve(self, *, is_create_order: bool = False) -> float:
        """Reserve the next free send time and return it, on the limiter's clock.

        A `create_order` that waits out its longer delay does not hold up what fits before it. Who
        lost his time to a late request (see `confirm`) goes before all others, who wait as much
        longer each: the queue shifts, and nobody goes to its end.
        """
        gap = self.min_interval * (1 + MARGIN)
        spacing = self.create_order_delay * (1 + MARGIN)
        with self._lock:
            now = self._clock()
            self._slots = sorted(slot for slot in self._slots if slot > now - gap)
            self._first = sorted(slot for slot in self._first if slot > now - gap)
            at = max(now, self._not_before, self._last_sent + gap)
            if is_create_order:
                at = max([at, *(create + spacing for create in self._creates)])
            for slot in self._first if self._overtaken else self._slots:
                if slot >= at + gap:
                    break
                at = max(at, slot + gap)
            self._slots.append(at)
            if self._overtaken:
                self._overtaken -= 1
                self._first.append(at)
            if is_create_order:
                # All that may still be near to one to come, whichever is given up; and the last.
                kept = [create for create in self._creates if create > now - spacing]
                self._creates = sorted([*(kept or self._creates[-1:]), at])
            return at

    def confirm(self, at: float) -> bool:
        """Once `at` has come: may the request go out? If not, the time is given up; reserve anew.

        It may not where a backoff began, or the request before went out much later than planned:
        the first on a connection opens it first, and the next would arrive too close behind it.
        That one goes first when it reserves anew.
        """
        with self._lock:
            now = self._clock()
            if now >= self._not_before:
                if at >= self._last_sent + self.min_interval * (1 + MARGIN / 2):
                    # It goes now, or later (`sent`): nobody is to think the way free meanwhile.
                    self._last_sent = max(self._last_sent, now)
                    return True
                self._overtaken += 1
        self.give_up(at)
        return False

    def give_up(self, at: float) -> None:
        """Free a reserved time that nothing will be sent at, for whoever reserves next."""
        with self._lock:
            for times in (self._slots, self._creates, self._first):
                if at in times:
                    times.remove(at)

    def sent(self) -> None:
        """Say that a request went out just now."""
        with self._lock:
            self._last_sent = self._clock()

    def set_backoff(self, seconds: float = 2.0) -> None:
        """Send nothing for `seconds` from now."""
        with self._lock:
            self._not_before = max(self._not_before, self._clock() + seconds)

    def wait(self, is_create_order: bool = False) -> None:  # noqa: FBT001, FBT002 - 0.1.1's signature
        """Block until the next request may be sent."""
        while True:
            at = self.reserve(is_create_order=is_create_order)
            try:
                time.sleep(max(0.0, at - self._clock()))
            except BaseException:  # Ctrl-C
                self.give_up(at)
                raise
            if self.confirm(at):
                return

    async def wait_async(self, is_create_order: bool = False) -> None:  # noqa: FBT001, FBT002 - likewise
        """Wait until the next request may be sent, without blocking the event loop."""
        while True:
            at = self.reserve(is_create_order=is_create_order)
            try:
                await asyncio.sleep(max(0.0, at - self._clock()))
            except BaseException:  # cancelled
                self.give_up(at)
                raise
            if self.confirm(at):
                return
