"""Things to do at a market time, on the event loop; they follow the clock when it is jumped."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from clore_sandbox.clock import Clock

__all__ = ["Timetable"]

log = logging.getLogger("clore_sandbox")


class Timetable:
    """Runs each thing once its time has come, one task each; errors are logged, not raised."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[int, int, Callable[[], Awaitable[None]]]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: Optional[asyncio.Task[None]] = None
        loop = asyncio.get_running_loop()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._changed.set)

        clock.when_jumped(wake)

    def start(self) -> None:
        """Begin to keep time."""
        self._runner = asyncio.ensure_future(self._run())

    def at(self, due_ms: int, action: Callable[[], Awaitable[None]]) -> None:
        """Do something once market time has reached `due_ms`."""
        heapq.heappush(self._heap, (due_ms, next(self._order), action))
        self._changed.set()

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            now = self._clock.now_ms()
            while self._heap and self._heap[0][0] <= now:
                action = heapq.heappop(self._heap)[2]
                task = asyncio.ensure_future(self._carry_out(action))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            wait = self._clock.world_seconds_until(self._heap[0][0]) if self._heap else None
            try:
                # A hair longer, so that a rounded-down sleep does not spin.
                await asyncio.wait_for(self._changed.wait(), None if wait is None else wait + 0.001)
            except asyncio.TimeoutError:
                continue

    async def _carry_out(self, action: Callable[[], Awaitable[None]]) -> None:
        try:
            await action()
        except Exception:
            log.exception("the marketplace could not do what was due")

    def clear(self) -> None:
        """Forget what is not due yet."""
        self._heap.clear()

    async def stop(self) -> None:
        """Stop, and wait for what has begun."""
        self.clear()
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        await asyncio.gather(*self._tasks, return_exceptions=True)
