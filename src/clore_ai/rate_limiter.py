"""One pace for one key: wait for the turn, then send (004, Rate Limiter).

`_state.pace` decides when the turn is; this module waits for it. No lock is held during a wait, so
one limiter serves threads and tasks alike and, with a state folder, all processes.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Callable, TypeVar

from clore_ai._state.pace import Gaps, Pace
from clore_ai.exceptions import ConfigError

T = TypeVar("T")

_LEAST_S = 0.001
"""Shorter gaps are not shared, since recording one takes longer."""


class RateLimiter:
    """Spaces requests. Both attributes may be changed at any time.

    - `min_interval`: seconds between any two requests (1 / `requests_per_second`).
    - `create_order_delay`: seconds between two `create_order` calls.

    Each is lengthened by `pace.MARGIN`. After code 5 the client calls `set_backoff`, and nothing is
    sent until the backoff is over. 0 for both means no pacing, for a marketplace without limits.

    `shared`: the pace of all processes of this machine that use one key. If it can't be written,
    `wait` and `set_backoff` raise ConfigError. If `alone` is set, it is called with the reason
    instead, and this process continues at its own pace, so that running orders can still be
    cancelled.
    """

    def __init__(
        self,
        requests_per_second: float = 1.0,
        create_order_delay: float = 5.0,
        *,
        shared: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,  # the whole machine's, since boot
    ) -> None:
        if requests_per_second <= 0 or create_order_delay < 0:
            raise ValueError(
                "requests_per_second must be above 0, and create_order_delay 0 or more"
            )
        self.min_interval = 1.0 / requests_per_second
        self.create_order_delay = create_order_delay
        self.alone: Callable[[str], None] | None = None
        self._clock = clock
        self._own = Pace()
        self._shared = shared

    @classmethod
    def at_pace(cls, requests_per_second: float, *, shared: Pace | None = None) -> RateLimiter:
        """The service's two delays at this pace; above 1 request a second both shrink alike.

        The service allows 1. A higher value is meant for a marketplace that allows more, also of
        `create_order`.
        """
        return cls(requests_per_second, 5.0 / max(1.0, requests_per_second), shared=shared)

    def wait(
        self,
        is_create_order: bool = False,
        *,
        within_s: float = float("inf"),
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Block until the next request may be sent; `sleep` does the waiting.

        Raises:
            TimeoutError: no request may be sent within `within_s` seconds.
        """
        until = self._clock() + within_s
        while pause_s := self._look(is_create_order):
            self._check(pause_s, until, within_s)
            sleep(pause_s)

    async def wait_async(
        self,
        is_create_order: bool = False,
        *,
        within_s: float = float("inf"),
    ) -> None:
        """As `wait`, without blocking the event loop."""
        import asyncio  # slow to import, and the blocking client needs none

        until = self._clock() + within_s
        while pause_s := await self._look_async(is_create_order):
            self._check(pause_s, until, within_s)
            await asyncio.sleep(pause_s)

    def sent(self, *, is_create_order: bool = False) -> None:
        """Record that a request was sent just now: the first on a connection is sent late."""
        # A request that was sent, an order above all, must not fail here; `wait` has recorded it.
        with suppress(ConfigError):
            self._with(
                lambda pace: pace.sent(self._gaps(), self._clock, is_create_order=is_create_order)
            )

    def set_backoff(self, seconds: float = 2.0) -> None:
        """Send nothing for `seconds` from now, an hour at most."""
        self._with(lambda pace: pace.hold(self._gaps(), self._clock, seconds))

    def _look(self, is_create_order: bool) -> float:
        """Seconds until the next look; 0: send now."""
        return self._with(
            lambda pace: pace.look(self._gaps(), self._clock, is_create_order=is_create_order)
        )

    async def _look_async(self, is_create_order: bool) -> float:
        if self._pace().store.path is None:
            return self._look(is_create_order)
        import asyncio

        return await asyncio.to_thread(self._look, is_create_order)  # it may be locked

    def _check(self, pause_s: float, until: float, within_s: float) -> None:
        if self._clock() + pause_s > until:
            raise TimeoutError(f"no turn within {within_s:g} s")

    def _gaps(self) -> Gaps:
        return Gaps(self.min_interval, self.create_order_delay)

    def _pace(self) -> Pace:
        return self._own if self._shared is None or self.min_interval <= _LEAST_S else self._shared

    def _with(self, do: Callable[[Pace], T]) -> T:
        try:
            return do(self._pace())
        except ConfigError as exc:
            if self.alone is None:
                raise
            self.alone(f"{exc} Until then, this command does not share its pace with others.")
            self._shared = None
            self._own.went(self._gaps(), self._clock, True)
            return self._with(do)
