"""Performs the steps of flows in an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any, Callable, TypeVar

import httpx

from clore_ai._api.steps import (
    Backoff,
    Clock,
    Exec,
    Fetch,
    Flow,
    Local,
    Post,
    Posted,
    Probe,
    Put,
    Send,
    Shared,
    Sleep,
    Step,
    Stoppable,
    Turn,
    Way,
)
from clore_ai._io.bounds import Bound, bounded
from clore_ai._io.http import FAILURES, SENT, Http, body_of, post_options, why
from clore_ai._ssh import async_programs, probe
from clore_ai._ssh.async_programs import in_thread, within
from clore_ai._ssh.copy import files

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from clore_ai._api.call import Reply
    from clore_ai._io.service_clock import ServiceClock
    from clore_ai.config import Settings
    from clore_ai.rate_limiter import RateLimiter

T = TypeVar("T")


class AsyncDriver:
    """Runs flows in the running event loop; any number of tasks at once.

    It closes a flow in `finally`, so that a cancelled task runs the flow's clean-up, which may have
    steps.
    """

    def __init__(
        self,
        settings: Settings,
        timeout_s: float,
        limiter: RateLimiter,
        clock: ServiceClock | None = None,
    ) -> None:
        self._http = Http(settings, timeout_s, limiter, clock)
        self._client = httpx.AsyncClient(**self._http.options())
        bounded(self._client)
        self._running: dict[str, asyncio.Task[Any]] = {}

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def run(self, flow: Flow[T]) -> T:
        """Perform the flow's steps and return its result."""
        try:
            step = next(flow)
            while True:
                try:
                    answer = await self._answer(step)
                except BaseException as exc:  # noqa: BLE001 - the flow cleans up, then re-raises
                    step = flow.throw(exc)
                else:
                    step = flow.send(answer)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            flow.close()

    async def _answer(self, step: Step) -> object:
        if isinstance(step, Local):
            return await _whole(step.work)
        await asyncio.sleep(0)  # A cancellation that came during a `Local` is raised here.
        return await self._perform(step)

    async def _perform(self, step: Stoppable) -> object:  # noqa: PLR0911 - one a kind of step
        if isinstance(step, Send):
            return await self._send(step)
        if isinstance(step, Turn):
            await self._http.limiter.wait_async(step.is_create_order, within_s=step.within_s)
        elif isinstance(step, Sleep):
            await asyncio.sleep(step.seconds)
        elif isinstance(step, Clock):
            return self._http.now()
        elif isinstance(step, Backoff):
            await _whole(lambda: self._http.limiter.set_backoff(step.seconds))
        elif isinstance(step, (Probe, Way)):
            return await _probed(step, self._http.known)
        elif isinstance(step, Exec):
            return await async_programs.run(step)
        elif isinstance(step, (Fetch, Put)):
            return await in_thread(lambda stopped: files.perform(step, stopped))
        elif isinstance(step, Post):
            return await _posted(step)
        else:
            return await self._share(step)
        return None

    async def _send(self, step: Send) -> Reply:
        async def trace(event: str, _info: object) -> None:
            if event.endswith(SENT):
                await _whole(lambda: self._http.sent(step))

        exchange, start = self._http.exchange(step), time.monotonic()
        try:
            request = self._http.request(self._client, step, trace)
            with self._http.bound(step):
                response = await self._client.send(request, stream=True)
                pieces = response.aiter_raw()
                try:
                    body = body_of(response)
                    async for piece in pieces:
                        if not body.add(piece):
                            break
                finally:
                    await pieces.aclose()  # type: ignore[attr-defined]  # a generator
                    await response.aclose()
            reply = self._http.reply(response, body)
        except BaseException as exc:  # noqa: BLE001 - raised again, bare
            exchange.failed(exc, time.monotonic() - start)
            self._http.no_answer(step.call, exc)
        exchange.answered(reply, time.monotonic() - start)
        return reply

    async def _share(self, step: Shared[T]) -> T:
        task = self._running.get(step.key)
        if task is None:
            coroutine: Coroutine[Any, Any, T] = self.run(step.make())
            task = self._running[step.key] = asyncio.ensure_future(coroutine)
            task.add_done_callback(lambda done: self._forget(step.key, done))
        # Shielded: a caller that gives up does not take the answer from the others.
        result: T = await asyncio.shield(task)
        return result

    def _forget(self, key: str, done: asyncio.Task[Any]) -> None:
        self._running.pop(key, None)
        if not done.cancelled():
            done.exception()  # retrieved, even if nobody waits any longer


async def _whole(work: Callable[[], T]) -> T:
    """The result of `work` in a thread. A cancellation meanwhile is raised by the next await."""
    task = asyncio.ensure_future(in_thread(lambda _: work()))
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        _cancel_again()
    return task.result()


def _cancel_again() -> None:
    this: Any = asyncio.current_task()
    if sys.version_info >= (3, 11):
        this.uncancel()  # It counts as the same request to stop, for `asyncio.timeout`.
    this.cancel()


async def _probed(step: Probe | Way, known: str) -> bool | str:
    """As `probe.perform`."""
    if isinstance(step, Way):
        return await in_thread(lambda _: probe.wrong_here(step, known))
    try:
        return await within(step.timeout_s, _greeting(step))
    except asyncio.TimeoutError:
        return False
    except probe.FAILURES as exc:
        why = exc
    found = await in_thread(lambda _: probe.trouble(step.host, step.port, why, known))
    return found or False


async def _greeting(step: Probe) -> bool:
    reader, writer = await asyncio.open_connection(step.host, step.port)
    try:
        return await reader.read(4) == b"SSH-"
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _posted(step: Post) -> Posted:
    try:
        async with httpx.AsyncClient(**post_options(step)) as client:
            bounded(client)
            with Bound(step.within_s):
                async with client.stream("POST", step.url, content=step.body) as response:
                    return Posted(response.status_code)
    except FAILURES as exc:
        return Posted(None, why(exc))
