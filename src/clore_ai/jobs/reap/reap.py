"""`client.reap`: ends the orders past their limits, once or until a time is over."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from math import inf
from typing import TYPE_CHECKING

from clore_ai.jobs.reap.keeper import replaced
from clore_ai.jobs.reap.reaper import Reaper, ReapEvent
from clore_ai.rental.limits.enforce import EVERY_S, Keeper

if TYPE_CHECKING:
    from clore_ai.jobs.engine import Engine
    from clore_ai.jobs.reap.reaper import OnEvent


async def reap(
    engine: Engine,
    every_s: float | None,
    for_s: float | None,
    on_event: OnEvent | None,
    *,
    dry_run: bool,
) -> list[ReapEvent]:
    """End what is past its limit, once or every `every_s`; see `client.reap`."""
    if any(time_s is not None and time_s <= 0 for time_s in (every_s, for_s)):
        raise ValueError("every and timeout must be above 0")
    events: list[ReapEvent] = []

    def report(event: ReapEvent) -> None:
        events.append(event)
        if on_event is not None:
            on_event(event)

    keeper = Keeper(mine=lambda _intent: True, every_s=every_s or EVERY_S)
    reaper = Reaper(engine, keeper, report, dry_run)
    if every_s is None:
        await reaper.once()
        return events
    until = inf if for_s is None else time.monotonic() + for_s
    async with AsyncExitStack() as stack:
        if not dry_run:
            await stack.enter_async_context(replaced(engine))
        await reaper.loop(lambda: time.monotonic() < until)
    return events
