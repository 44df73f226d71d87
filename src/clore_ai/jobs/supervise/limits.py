"""Keeps the limits of a job's machine while the job is watched."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Callable

from clore_ai.rental.limits import enforce

if TYPE_CHECKING:
    from clore_ai.jobs.engine import Engine
    from clore_ai.rental.limits.enforce import Keeper
    from clore_ai.rental.limits.expiry import Limit


async def reached(engine: Engine, keeper: Keeper, on_message: Callable[[str], object]) -> Limit:
    """Wait for the limit at which the machine has to end, and return it; warns before that."""
    while True:
        near, over = await engine.drive(keeper.check(engine.session))
        for each in near:
            on_message(enforce.near(each))
        if over:
            return over[0]
        await asyncio.sleep(enforce.SLICE_S)
