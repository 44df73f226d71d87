"""What a market does by itself at intervals: it bills orders, and its simulated accounts act."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_sandbox.alive.crowd import ACT_EVERY_MS, STEP_MS
from clore_sandbox.books import lifecycle
from clore_sandbox.rules.billing import TICK_MS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from clore_sandbox.alive.crowd import Crowd
    from clore_sandbox.books.lifecycle import Effects, Terms
    from clore_sandbox.market.clock import Clock
    from clore_sandbox.market.timetable import Timetable
    from clore_sandbox.store import Tx

__all__ = ["Recurring"]

_DAY_MS = 86_400_000


class Recurring:
    """Enters itself in the timetable again each time; `act` is the market's."""

    def __init__(
        self,
        clock: Clock,
        timetable: Timetable,
        terms: Terms,
        act: Callable[[Callable[[Tx, Effects], None]], Awaitable[None]],
    ) -> None:
        self._clock = clock
        self._timetable = timetable
        self._terms = terms
        self._act = act

    def bill_later(self) -> None:
        """Bill all orders soon, and end those that are over, again and again."""
        # Reading an account bills it anyway; this ends orders that nobody reads. However fast the
        # clock runs, 20 times in a real second is enough.
        pause = max(TICK_MS // 6, round(self._clock.speed * 50))
        self._timetable.at(self._clock.now_ms() + pause, self._bill, in_a_jump="pass_over")

    async def _bill(self) -> None:
        now = self._clock.now_ms()
        await self._act(lambda tx, effects: lifecycle.settle(tx, now, self._terms, effects))
        self.bill_later()

    def live_later(self, crowd: Crowd, lived_ms: int) -> None:
        """Let the crowd act soon, again and again; it has acted until `lived_ms`."""

        async def live() -> None:
            now = self._clock.now_ms()
            # After a long time in which nothing could run, the crowd catches up on the last day.
            last = max(lived_ms, now - _DAY_MS)
            while last < now:
                elapsed = min(STEP_MS, now - last)
                last += elapsed
                await self._act(self._step(crowd, last, elapsed))
            self.live_later(crowd, last)

        # A jump waits for each of the crowd's steps, so that it acts on the market of that time.
        gap = STEP_MS if self._timetable.jumps else ACT_EVERY_MS
        self._timetable.at(lived_ms + gap, live, in_a_jump="wait")

    def _step(self, crowd: Crowd, now_ms: int, elapsed_ms: int) -> Callable[[Tx, Effects], None]:
        return lambda tx, effects: crowd.step(tx, now_ms, elapsed_ms, self._terms, effects)
