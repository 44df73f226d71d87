"""Runs actions at their market time, on the event loop, also when the clock is changed.

Promises: `jump` runs the actions due on the way in their order, each at its own time, so that
jumping over a day has the same effects as waiting for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from clore_sandbox.market.clock import Clock

__all__ = ["InAJump", "Timetable"]

log = logging.getLogger("clore_sandbox")

InAJump = Literal["begin", "wait", "pass_over"]
"""How a jump treats an entry that is due on its way: start it and go on; wait until it is done; or
run it once, at the end."""

_LONGEST_WAIT_S = 3600.0
"""Timers wait at most this long, and then again: event loops may count in 32 bits."""


@dataclass(order=True)
class _Entry:
    due_ms: int
    number: int
    action: Callable[[], Awaitable[None]] = field(compare=False)
    in_a_jump: InAJump = field(compare=False)


class Timetable:
    """Runs each action in a task of its own; errors are logged, not raised."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[_Entry] = []
        self._numbers = itertools.count()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: asyncio.Task[None] | None = None
        self._alone = asyncio.Lock()
        self._jumping = self._held = False
        loop = asyncio.get_running_loop()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._changed.set)

        clock.when_changed(wake)

    @property
    def jumps(self) -> bool:
        """Whether a jump is in progress."""
        return self._jumping

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncGenerator[None, None]:
        """Run no actions within this context, in which the state is replaced.

        Actions that have started finish first: they must not act on the new state, nor enter
        themselves in its timetable.
        """
        async with self._alone:
            self._held = True
            try:
                await asyncio.gather(*self._tasks, return_exceptions=True)
                yield
            finally:
                self._held = False
                self._changed.set()

    def start(self) -> None:
        """Begin to run actions."""
        self._runner = asyncio.ensure_future(self._run())

    def at(
        self, due_ms: int, action: Callable[[], Awaitable[None]], *, in_a_jump: InAJump = "begin"
    ) -> None:
        """Run an action once market time has reached `due_ms`."""
        heapq.heappush(self._heap, _Entry(due_ms, next(self._numbers), action, in_a_jump))
        self._changed.set()

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            now = self._clock.now_ms()
            while self._heap and not self._held and self._heap[0].due_ms <= now:
                self._begin(heapq.heappop(self._heap))
            idle = self._held or not self._heap
            wait = None if idle else self._clock.world_seconds_until(self._heap[0].due_ms)
            if wait is not None:
                # A little longer, so that a sleep that is rounded down does not spin.
                wait = min(wait + 0.001, _LONGEST_WAIT_S)
            changed = asyncio.ensure_future(self._changed.wait())
            try:
                await asyncio.wait({changed}, timeout=wait)
            finally:
                changed.cancel()

    def _begin(self, entry: _Entry) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self._carry_out(entry.action))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _carry_out(self, action: Callable[[], Awaitable[None]]) -> None:
        try:
            await action()
        except Exception:
            log.exception("a scheduled action of the marketplace failed")

    async def jump(self, seconds: float) -> None:
        """Move market time ahead by `seconds`; returns once everything due on the way is done.

        Raises:
            ValueError: `seconds` is negative, or leads beyond the calendar.
        """
        async with self._alone:
            self._jumping = True
            try:
                await self._jump(self._clock.after(seconds))
            finally:
                self._jumping = False

    async def _jump(self, target: int) -> None:
        begun: list[asyncio.Task[None]] = []
        passed_over: list[_Entry] = []
        while self._heap and self._heap[0].due_ms <= target:
            entry = heapq.heappop(self._heap)
            if entry.in_a_jump == "pass_over":
                passed_over.append(entry)
                continue
            self._clock.jump_to(entry.due_ms)
            task = self._begin(entry)
            if entry.in_a_jump == "wait":
                await task
            else:
                begun.append(task)
                await asyncio.sleep(0)  # so that it sees its own time
        self._clock.jump_to(target)
        begun += [self._begin(entry) for entry in passed_over]
        if begun:
            await asyncio.wait(begun)

    def clear(self) -> None:
        """Remove all entries."""
        self._heap.clear()

    async def stop(self) -> None:
        """Stop, and wait for the actions that have started."""
        self.clear()
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        await asyncio.gather(*self._tasks, return_exceptions=True)
