"""Performs the steps of flows; with `_way` all of the client's network I/O.

`Driver` blocks, `AsyncDriver` awaits; both close the flow in `finally`, so that Ctrl-C and a
cancelled task run its clean-up, which may itself take steps.
"""

from __future__ import annotations

import asyncio
import platform
import ssl
import threading
import time
import weakref
from concurrent import futures
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import httpx

from clore_ai import _interrupts
from clore_ai._api.endpoints import Call, Reply
from clore_ai._api.steps import (
    Backoff,
    Clock,
    Exec,
    Fetch,
    Flow,
    Instant,
    Post,
    Posted,
    Probe,
    Put,
    Send,
    Shared,
    Sleep,
    Step,
    Turn,
    Way,
)
from clore_ai._io.bounds import Body, bounded, within
from clore_ai._io.service_clock import ServiceClock, retry_after_s, unix
from clore_ai._io.trace import Exchange
from clore_ai._ssh import probe, programs
from clore_ai._ssh.copy import files
from clore_ai._values.secrets import MASK, SecretBytes, forms
from clore_ai._version import __version__
from clore_ai.exceptions import ConfigError, TransportError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from clore_ai.config import Settings
    from clore_ai.rate_limiter import RateLimiter

T = TypeVar("T")

# Unknown default user agents can meet HTTP 403 at the CDN (service.md, 1).
USER_AGENT = f"clore-ai/{__version__} (Python {platform.python_version()})"
_NEVER_ARRIVED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
# The standard library refuses a host name that can't be one with UnicodeError.
_UNUSABLE = (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, UnicodeError)
_FAILURES = (httpx.HTTPError, httpx.InvalidURL, UnicodeError)
_SENT = "send_request_headers.complete"
# What httpcore tells of a request while it waits for the network, and holds no lock.
_WAITS = ("connect_tcp", "setup_socks5_connection", "start_tls", "retry", "send_request_headers",
          "send_request_body", "receive_response_headers", "receive_response_body")  # fmt: skip
_WAIT_BEGINS = tuple(f".{name}.started" for name in _WAITS)


_IN_ALL = 4
"""How many times its time-out, which is for each wait, a request may take."""
_SHORT_KEY = 12
_JSON = {"User-Agent": USER_AGENT, "Content-Type": "application/json"}


def _headers(settings: Settings) -> dict[bytes, bytes]:
    return {
        b"User-Agent": USER_AGENT.encode(),
        b"Accept": b"application/json",
        b"Accept-Encoding": b"gzip",  # what `Body` unpacks
    } | ({b"auth": SecretBytes(settings.api_key.encode())} if settings.api_key else {})


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """Who is trusted: reading that takes 40 ms, so all clients of a process share it."""
    return httpx.create_ssl_context()


def _trust(settings: Settings) -> ssl.SSLContext:
    """Who is trusted by this address: over plain HTTP, a local marketplace's, it is nobody."""
    plain = settings.base_url.lower().startswith("http:")
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else _tls()


def _request(
    client: httpx.Client | httpx.AsyncClient, base_url: str, step: Send, trace: object
) -> httpx.Request:
    call = step.call
    timeouts = client.timeout.as_dict()
    return client.build_request(
        call.method,
        f"{base_url}/{call.path}",
        params=call.params,
        json=call.body,
        extensions={
            "trace": trace,
            "timeout": {
                phase: min(s or step.within_s, step.within_s) for phase, s in timeouts.items()
            },
        },
    )


def _heard(event: str, _info: object) -> None:
    """Let Ctrl-C in where httpcore waits for the network, and nowhere else.

    It takes locks by `__enter__` methods in Python: a Ctrl-C that comes in one leaves the lock
    taken, and whoever then closes the connections waits for ever.
    """
    _interrupts.let_in(now=event.endswith(_WAIT_BEGINS))


def _exchange(settings: Settings, step: Send) -> Exchange:
    exchange = Exchange(step.call, settings.base_url, settings.api_key is not None, step.tries)
    exchange.sent()
    return exchange


def _local_time() -> Instant:
    return Instant(time.time(), time.monotonic())


def _body(response: httpx.Response) -> Body:
    return Body(response.headers.get("content-encoding", ""))


def _reply(response: httpx.Response, body: Body, settings: Settings, clock: ServiceClock) -> Reply:
    kind, content = response.headers.get("content-type", ""), body.content
    # Neither a page of somebody in between nor what a cache had kept tells the service's time.
    if "date" in response.headers and "json" in kind and "age" not in response.headers:
        clock.told(response.headers["date"], _local_time(), response.elapsed.total_seconds())
    # An error page may quote the request. A short key may be a number, or a word.
    if settings.api_key is not None and len(settings.api_key) >= _SHORT_KEY:
        for form in forms(settings.api_key):
            content = content.replace(form.encode(), MASK.encode())
    # A date in the answer is told by the clock that wrote it.
    now = unix(response.headers.get("date", "")) or clock.now(_local_time()).wall
    return Reply(
        response.status_code,
        kind,
        content,
        response.headers.get("location"),
        whole=body.whole,
        retry_after_s=retry_after_s(response.headers.get("retry-after", ""), now),
    )


def _bare(exc: BaseException) -> BaseException:
    """The error without the frames it came through: those of httpx hold the key's header."""
    seen: set[int] = set()
    left: list[BaseException | None] = [exc]
    while left:
        error = left.pop()
        if error is not None and id(error) not in seen:
            seen.add(id(error))
            error.__traceback__ = None
            left += [error.__cause__, error.__context__]
    return exc


def _why(exc: BaseException) -> str:
    """Why no answer came, without the address: it may be a secret."""
    if isinstance(exc, httpx.TimeoutException):
        return "no answer in time"
    if isinstance(exc, _UNUSABLE):
        return "it is no usable address"
    return "it can't be reached" if isinstance(exc, _NEVER_ARRIVED) else "the connection was cut"


def _no_answer(call: Call[Any], base_url: str, exc: BaseException) -> NoReturn:
    """Turn httpx's error into ours, which knows whether the request may have arrived."""
    if not isinstance(exc, _FAILURES):
        raise exc
    if isinstance(exc, _UNUSABLE):
        raise ConfigError(f"{call.path}: {base_url} can't be used: {exc}") from exc
    never = isinstance(exc, _NEVER_ARRIVED)
    if never:
        what = f"can't reach {base_url} ({str(exc) or type(exc).__name__}); nothing was sent"
    elif isinstance(exc, httpx.TimeoutException):
        what = "no answer in time"
    else:
        what = f"the connection was cut ({str(exc) or type(exc).__name__})"
    tail = "" if never or call.repeatable else "; it may have been acted on all the same"
    raise TransportError(f"{call.path}: {what}{tail}.", maybe_acted=not never) from exc


class Driver:
    """Runs flows in the calling thread. Serves any number of threads at once."""

    def __init__(self, settings: Settings, timeout_s: float, limiter: RateLimiter) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        self._limiter = limiter
        self._known = urlsplit(settings.base_url).hostname or ""
        self._clock = ServiceClock()
        self._client = httpx.Client(
            headers=_headers(settings), timeout=timeout_s, verify=_trust(settings)
        )
        bounded(self._client)
        # 001's client has no close(), and 004's examples do not call it.
        self._finalizer = weakref.finalize(self, self._client.close)
        self._lock = threading.Lock()
        self._running: dict[str, futures.Future[Any]] = {}

    @_interrupts.deferred()
    def close(self) -> None:
        """Close the connections."""
        # Not left to the garbage collection: Python swallows a Ctrl-C that comes in a finalizer.
        self._finalizer()

    def beside(self) -> AsyncDriver:
        """One for the running event loop, with the same settings and at one pace with this."""
        return AsyncDriver(self._settings, self._timeout_s, self._limiter)

    def run(self, flow: Flow[T]) -> T:
        """Perform the flow's steps and return its result."""
        answer: object = None
        failure: BaseException | None = None
        try:
            while True:
                try:
                    step = flow.send(answer) if failure is None else flow.throw(failure)
                    answer = failure = None
                    answer = self._perform(step)
                except BaseException as exc:
                    # Ctrl-C may come between two steps, too: the flow cleans up, then re-raises.
                    if getattr(flow, "gi_frame", None) is None:
                        raise
                    answer, failure = None, exc
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            flow.close()

    def _perform(self, step: Step) -> object:  # noqa: PLR0911 - one a kind of step
        if isinstance(step, Send):
            return self._send(step)
        if isinstance(step, Turn):
            self._limiter.wait(step.is_create_order, within_s=step.within_s)
        elif isinstance(step, Sleep):
            time.sleep(step.seconds)
        elif isinstance(step, Clock):
            return self._clock.now(_local_time())
        elif isinstance(step, Backoff):
            self._limiter.set_backoff(step.seconds)
        elif isinstance(step, (Probe, Way)):
            return probe.perform(step, self._known)
        elif isinstance(step, Exec):
            return programs.run(step)
        elif isinstance(step, (Fetch, Put)):
            return files.perform(step)
        elif isinstance(step, Post):
            return _posted(step)
        else:
            return self._share(step)
        return None

    def _send(self, step: Send) -> Reply:
        call = step.call

        def trace(event: str, info: object) -> None:
            if event.endswith(_SENT):
                self._limiter.sent(is_create_order=call.is_create_order)
            _heard(event, info)

        exchange, start = _exchange(self._settings, step), time.monotonic()
        try:
            request = _request(self._client, self._settings.base_url, step, trace)
            with _interrupts.deferred(), within(min(step.within_s, self._timeout_s * _IN_ALL)):
                response = self._client.send(request, stream=True)
                try:
                    body = _body(response)
                    for piece in response.iter_raw():
                        if not body.add(piece):
                            break
                finally:
                    response.close()
            reply = _reply(response, body, self._settings, self._clock)
        except BaseException as exc:  # noqa: BLE001 - raised again, bare
            exchange.failed(exc, time.monotonic() - start)
            _no_answer(call, self._settings.base_url, _bare(exc))
        exchange.answered(reply, time.monotonic() - start)
        return reply

    def _share(self, step: Shared[T]) -> T:
        with self._lock:
            future = self._running.get(step.key)
            mine = future is None
            if future is None:
                future = self._running[step.key] = futures.Future()
        if not mine:
            futures.wait([future])  # Ctrl-C here is ours and goes up
            if isinstance(future.exception(), (KeyboardInterrupt, GeneratorExit, SystemExit)):
                return self._share(step)  # the thread that asked was stopped, not the request
            shared: T = future.result()
            return shared
        try:
            result = self.run(step.make())
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


class AsyncDriver:
    """Runs flows in the running event loop; any number of tasks at once."""

    def __init__(self, settings: Settings, timeout_s: float, limiter: RateLimiter) -> None:
        self._settings = settings
        self._timeout_s = timeout_s
        self._limiter = limiter
        self._known = urlsplit(settings.base_url).hostname or ""
        self._clock = ServiceClock()
        self._client = httpx.AsyncClient(
            headers=_headers(settings), timeout=timeout_s, verify=_trust(settings)
        )
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
                    answer = await self._perform(step)
                except BaseException as exc:  # noqa: BLE001 - the flow cleans up, then re-raises
                    step = flow.throw(exc)
                else:
                    step = flow.send(answer)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            flow.close()

    async def _perform(self, step: Step) -> object:  # noqa: PLR0911 - one a kind of step
        if isinstance(step, Send):
            return await self._send(step)
        if isinstance(step, Turn):
            await self._limiter.wait_async(step.is_create_order, within_s=step.within_s)
        elif isinstance(step, Sleep):
            await asyncio.sleep(step.seconds)
        elif isinstance(step, Clock):
            return self._clock.now(_local_time())
        elif isinstance(step, Backoff):
            self._limiter.set_backoff(step.seconds)
        elif isinstance(step, (Probe, Way)):
            return await probe.perform_async(step, self._known)
        elif isinstance(step, Exec):
            return await programs.run_async(step)
        elif isinstance(step, (Fetch, Put)):
            return await programs.in_thread(lambda stopped: files.perform(step, stopped))
        elif isinstance(step, Post):
            return await _posted_async(step)
        else:
            return await self._share(step)
        return None

    async def _send(self, step: Send) -> Reply:
        call = step.call

        async def trace(event: str, _info: dict[str, Any]) -> None:
            if event.endswith(_SENT):
                self._limiter.sent(is_create_order=call.is_create_order)

        exchange, start = _exchange(self._settings, step), time.monotonic()
        try:
            request = _request(self._client, self._settings.base_url, step, trace)
            with within(min(step.within_s, self._timeout_s * _IN_ALL)):
                response = await self._client.send(request, stream=True)
                pieces = response.aiter_raw()
                try:
                    body = _body(response)
                    async for piece in pieces:
                        if not body.add(piece):
                            break
                finally:
                    await pieces.aclose()  # type: ignore[attr-defined]  # a generator
                    await response.aclose()
            reply = _reply(response, body, self._settings, self._clock)
        except BaseException as exc:  # noqa: BLE001 - raised again, bare
            exchange.failed(exc, time.monotonic() - start)
            _no_answer(call, self._settings.base_url, _bare(exc))
        exchange.answered(reply, time.monotonic() - start)
        return reply

    async def _share(self, step: Shared[T]) -> T:
        task = self._running.get(step.key)
        if task is None:
            coroutine: Coroutine[Any, Any, T] = self.run(step.make())
            task = self._running[step.key] = asyncio.ensure_future(coroutine)
            task.add_done_callback(lambda done: self._forget(step.key, done))
        # Shielded: one caller who gives up does not take the answer from the others.
        result: T = await asyncio.shield(task)
        return result

    def _forget(self, key: str, done: asyncio.Task[Any]) -> None:
        self._running.pop(key, None)
        if not done.cancelled():
            done.exception()  # seen, also when nobody waits any more


@_interrupts.deferred()
def _posted(step: Post) -> Posted:
    try:
        with httpx.Client(headers=_JSON, timeout=step.within_s, verify=_tls()) as client:
            bounded(client)
            heard = {"trace": _heard}
            # Of what it says to that, nothing is read.
            with (
                within(step.within_s),
                client.stream("POST", step.url, content=step.body, extensions=heard) as response,
            ):
                return Posted(response.status_code)
    except _FAILURES as exc:
        return Posted(None, _why(exc))


async def _posted_async(step: Post) -> Posted:
    try:
        async with httpx.AsyncClient(headers=_JSON, timeout=step.within_s, verify=_tls()) as client:
            bounded(client)
            with within(step.within_s):
                async with client.stream("POST", step.url, content=step.body) as response:
                    return Posted(response.status_code)
    except _FAILURES as exc:
        return Posted(None, _why(exc))
