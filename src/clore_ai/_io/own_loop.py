"""The blocking client's event loop: work in asyncio, such as watching a job, while it waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from clore_ai._io import stops
from clore_ai._io.async_driver import AsyncDriver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from clore_ai._io.http import Http

T = TypeVar("T")


def run(http: Http, work: Callable[[AsyncDriver], Awaitable[T]]) -> T:
    """The result of `work`; its driver shares the pace and the clock. A stop cancels it."""

    async def whole() -> T:
        driver = AsyncDriver(http.settings, http.timeout_s, http.limiter, http.clock)
        try:
            return await work(driver)
        finally:
            await driver.close()

    return stops.run(lambda found: asyncio.run(_cancelled_by(found, whole)))


async def _cancelled_by(found: stops.Stops, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    task = asyncio.ensure_future(work())
    why: BaseException | None = None
    look_s = None if found is stops.NEVER else stops.LOOK_S
    while not (await asyncio.wait({task}, timeout=look_s))[0]:
        try:
            found.check()
        except BaseException as exc:  # noqa: BLE001 - raised below
            why = exc
            task.cancel()
    if why is not None and task.cancelled():
        raise why
    return task.result()
