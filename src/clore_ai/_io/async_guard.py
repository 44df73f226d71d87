"""A check that is repeated beside the caller, in a task."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from collections.abc import Awaitable


class AsyncGuard:
    """A task that checks at intervals, until a check says that all is over."""

    def __init__(self, look: Callable[[], Awaitable[bool]], every_s: float) -> None:
        self._task = asyncio.ensure_future(self._keep(look, every_s))

    async def _keep(self, look: Callable[[], Awaitable[bool]], every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            if await look():
                return

    async def stop(self) -> None:
        """End the task, even during a check."""
        self._task.cancel()
        await asyncio.wait({self._task})
