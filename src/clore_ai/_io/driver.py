"""Performs the steps of flows, blocking."""

from __future__ import annotations

import threading
import time
import weakref
from concurrent import futures
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
from clore_ai._io import stops as stopping
from clore_ai._io.bounds import Bound, bounded
from clore_ai._io.http import FAILURES, SENT, Http, body_of, post_options, why
from clore_ai._io.stops import NEVER, Stops
from clore_ai._ssh import probe, programs

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from clore_ai._api.call import Reply
    from clore_ai._io.async_driver import AsyncDriver
    from clore_ai.config import Settings
    from clore_ai.rate_limiter import RateLimiter

T = TypeVar("T")


class Driver:
    """Runs flows for the calling thread, which waits. Any number of threads may use it at once."""

    def __init__(self, settings: Settings, timeout_s: float, limiter: RateLimiter) -> None:
        self._http = Http(settings, timeout_s, limiter)
        self._client = httpx.Client(**self._http.options())
        bounded(self._client)
        # 001's client has no close(), and 004's examples do not call it.
        self._finalizer = weakref.finalize(self, self._client.close)
        self._lock = threading.Lock()
        self._running: dict[str, futures.Future[Any]] = {}

    def close(self) -> None:
        """Close the connections."""
        # Not left to garbage collection: Python swallows a Ctrl-C in a finalizer.
        stopping.run(lambda _: self._finalizer())

    def in_loop(self, work: Callable[[AsyncDriver], Awaitable[T]]) -> T:
        """The result of `work` in an event loop; its driver shares the pace and the clock."""
        from clore_ai._io import own_loop  # slow to import, as asyncio is

        return own_loop.run(self._http, work)

    def run(self, flow: Flow[T]) -> T:
        """Perform the flow's steps and return its result; Ctrl-C as in `stops`."""
        return stopping.run(lambda stops: self._run(flow, stops))

    def _run(self, flow: Flow[T], stops: Stops) -> T:
        answer: object = None
        failure: BaseException | None = None
        try:
            while True:
                step = flow.send(answer) if failure is None else flow.throw(failure)
                answer = failure = None
                try:
                    answer = self._answer(step, stops)
                except BaseException as exc:  # noqa: BLE001 - the flow cleans up, then re-raises
                    failure = exc
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            flow.close()
            failure = None  # its frames refer to this one

    def _answer(self, step: Step, stops: Stops) -> object:
        return step.work() if isinstance(step, Local) else self._perform(step, stops)

    def _perform(self, step: Stoppable, stops: Stops) -> object:  # noqa: PLR0911 - one a kind of step
        if stops.cleaning and _is_whole(step):
            stops = NEVER
        stops.check()
        if isinstance(step, Send):
            return self._send(step, stops)
        if isinstance(step, Turn):
            wait = self._http.limiter.wait
            wait(step.is_create_order, within_s=step.within_s, sleep=stops.sleep)
        elif isinstance(step, Sleep):
            stops.sleep(step.seconds)
        elif isinstance(step, Clock):
            return self._http.now()
        elif isinstance(step, Backoff):
            self._http.limiter.set_backoff(step.seconds)
        elif isinstance(step, (Probe, Way)):
            return stops.over(lambda: probe.perform(step, self._http.known))
        elif isinstance(step, (Exec, Fetch, Put)):
            return _at_work(step, stops)
        elif isinstance(step, Post):
            bound = Bound(step.within_s)
            return stops.over(lambda: _posted(step, bound), bound.end)
        else:
            return self._share(step, stops)
        return None

    def _send(self, step: Send, stops: Stops) -> Reply:
        exchange, start, bound = self._http.exchange(step), time.monotonic(), self._http.bound(step)
        try:
            reply = stops.over(lambda: self._reply(step, bound), bound.end)
        except BaseException as exc:  # noqa: BLE001 - raised again, bare
            exchange.failed(exc, time.monotonic() - start)
            self._http.no_answer(step.call, exc)
        exchange.answered(reply, time.monotonic() - start)
        return reply

    def _reply(self, step: Send, bound: Bound) -> Reply:
        def trace(event: str, _info: object) -> None:
            if event.endswith(SENT):
                self._http.sent(step)

        request = self._http.request(self._client, step, trace)
        with bound:
            response = self._client.send(request, stream=True)
            try:
                body = body_of(response)
                for piece in response.iter_raw():
                    if not body.add(piece):
                        break
            finally:
                response.close()
        return self._http.reply(response, body)

    def _share(self, step: Shared[T], stops: Stops) -> T:
        with self._lock:
            future = self._running.get(step.key)
            mine = future is None
            if future is None:
                future = self._running[step.key] = futures.Future()
        if not mine:
            stops.over(lambda: futures.wait([future]))
            if isinstance(future.exception(), (KeyboardInterrupt, GeneratorExit, SystemExit)):
                return self._share(step, stops)  # the caller was stopped, not the request
            shared: T = future.result()
            return shared
        try:
            result = self._run(step.make(), stops)
        except BaseException as exc:
            self._end(step.key)
            future.set_exception(exc)
            raise
        self._end(step.key)
        future.set_result(result)
        return result

    def _end(self, key: str) -> None:
        with self._lock:
            del self._running[key]


def _is_whole(step: Stoppable) -> bool:
    """Does a flow that cleans up finish this step? Yes, if it changes something, with its turn."""
    if isinstance(step, Send):
        return step.call.method == "POST"
    return isinstance(step, (Turn, Clock, Backoff))


def _at_work(step: Exec | Fetch | Put, stops: Stops) -> object:
    """The result of a program, which a stop ends."""
    try:
        if isinstance(step, Exec):
            return programs.run(step, stops.came)
        from clore_ai._ssh.copy import files  # most programs copy none

        return files.perform(step, stops.came)
    finally:
        stops.check()  # a program that was ended early has no result


def _posted(step: Post, bound: Bound) -> Posted:
    try:
        with httpx.Client(**post_options(step)) as client:
            bounded(client)
            # The body of the answer is not read.
            with bound, client.stream("POST", step.url, content=step.body) as response:
                return Posted(response.status_code)
    except FAILURES as exc:
        return Posted(None, why(exc))
