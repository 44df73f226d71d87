"""One pace for one key: wait for the turn, then send (004, Rate Limiter).

Whose turn it is, and when, is in `_pace`; here is the waiting. Nothing is locked across a wait, so
one limiter serves threads and tasks alike, and with a file of the state folder all processes.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Generator
from contextlib import closing, suppress
from pathlib import Path
from typing import Callable, TypeVar

from clore_ai._state import turns
from clore_ai._state.kept import File, Kept, Memory
from clore_ai.exceptions import ConfigError

T = TypeVar("T")

# Process ids alone are not unique: containers that share a folder may each have a process 1.
_HERE = secrets.token_hex(4)


class RateLimiter:
    """Spaces requests; both attributes may be changed at any time.

    - `min_interval`: seconds between any two requests (1 / `requests_per_second`).
    - `create_order_delay`: seconds between two `create_order` calls.

    Each is stretched by `_pace.MARGIN`. After code 5 the client calls `set_backoff`: nothing is
    sent before it is over. 0 for both means no pacing, for a marketplace without limits.

    `shared`: a file for all processes of this machine that use one key. Where it can't be written,
    `wait` and `set_backoff` raise ConfigError; but where `alone` is set, that is told why, and this
    process goes on at a pace of its own: what runs and is paid for can still be cancelled.
    """

    def __init__(
        self,
        requests_per_second: float = 1.0,
        create_order_delay: float = 5.0,
        *,
        shared: Path | None = None,
        clock: Callable[[], float] = time.monotonic,  # that of the whole machine, since its start
    ) -> None:
        if requests_per_second <= 0 or create_order_delay < 0:
            raise ValueError("requests_per_second must be above 0, create_order_delay not below")
        self.min_interval = 1.0 / requests_per_second
        self.create_order_delay = create_order_delay
        self.alone: Callable[[str], None] | None = None
        self._clock = clock
        self._kept: Kept[turns.Pace] = Memory(turns.Pace())
        if shared is not None:
            self._kept = File(shared, lambda data: turns.load(data, clock()), turns.dump)

    @classmethod
    def at_pace(cls, requests_per_second: float, *, shared: Path | None = None) -> RateLimiter:
        """The service's two delays at this pace; above 1 a second both shrink alike.

        The service allows 1: who sets more has a marketplace that allows it, `create_order` too.
        """
        return cls(requests_per_second, 5.0 / max(1.0, requests_per_second), shared=shared)

    def wait(
        self,
        is_create_order: bool = False,
        *,
        within_s: float = float("inf"),
    ) -> None:
        """Block until the next request may be sent.

        Raises:
            TimeoutError: it may not within `within_s` seconds.
        """
        with closing(self._pauses(is_create_order, within_s)) as pauses:
            for pause_s in pauses:
                time.sleep(pause_s)

    async def wait_async(
        self,
        is_create_order: bool = False,
        *,
        within_s: float = float("inf"),
    ) -> None:
        """As `wait`, without blocking the event loop."""
        with closing(self._pauses(is_create_order, within_s)) as pauses:
            for pause_s in pauses:
                await asyncio.sleep(pause_s)

    def sent(self, *, is_create_order: bool = False) -> None:
        """Say that a request went out just now: the first on a connection goes late."""
        # What went out can't fail any more, least of all an order; `wait` has noted it too.
        with suppress(ConfigError):
            self._with(lambda pace: pace.went(self._clock(), is_create_order=is_create_order))

    def set_backoff(self, seconds: float = 2.0) -> None:
        """Send nothing for `seconds` from now, an hour at most."""
        self._with(lambda pace: pace.hold(self._clock() + min(seconds, turns.HORIZON_S)))

    def _pauses(self, is_create_order: bool, within_s: float) -> Generator[float, None, None]:
        """How long to sleep, again and again, until it is this one's turn."""
        until = self._clock() + within_s
        holder = f"{os.getpid()}-{_HERE}"
        ticket = self._with(lambda pace: pace.take(holder, is_create_order=is_create_order))
        pause_s = self._with(lambda pace: self._look(pace, ticket))
        gone = not pause_s
        try:
            while not gone:
                if self._clock() + pause_s > until:
                    raise TimeoutError(f"its turn did not come within {within_s:g} s")
                yield pause_s
                pause_s = self._with(lambda pace: self._look(pace, ticket))
                gone = not pause_s
        finally:
            if not gone:  # Ctrl-C, a cancelled task, or too late
                with suppress(ConfigError):
                    self._with(lambda pace: pace.leave(ticket))

    def _with(self, do: Callable[[turns.Pace], T]) -> T:
        try:
            with self._kept.open() as pace:
                return do(pace)
        except ConfigError as exc:
            if self.alone is None:
                raise
            self.alone(f"{exc} Until then this command does not share its pace.")
            self._kept = Memory(turns.load({}, self._clock()))
            return self._with(do)

    def _look(self, pace: turns.Pace, ticket: turns.Ticket) -> float:
        gaps = turns.Gaps(self.min_interval, self.create_order_delay)
        return pace.look(ticket, gaps, self._clock())
