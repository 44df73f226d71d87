"""What both drivers know of HTTP: how a request goes out, what came back, and why nothing did."""

from __future__ import annotations

import codecs
import platform
import ssl
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn, TypedDict
from urllib.parse import urlsplit

import httpx

from clore_ai._api.call import Call, Reply
from clore_ai._api.steps import Instant
from clore_ai._io.bounds import Body, Bound
from clore_ai._io.service_clock import ServiceClock, retry_after_s, unix
from clore_ai._io.trace import Exchange
from clore_ai._values.secrets import MASK, SecretBytes, forms
from clore_ai._version import __version__
from clore_ai.exceptions import ConfigError, TransportError

if TYPE_CHECKING:
    from clore_ai._api.steps import Post, Send
    from clore_ai.config import Settings
    from clore_ai.rate_limiter import RateLimiter

# Unknown default user agents can meet HTTP 403 at the CDN (service.md, 1).
USER_AGENT = f"clore-ai/{__version__} (Python {platform.python_version()})"
_NEVER_ARRIVED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
# The standard library refuses a host name that can't be one with UnicodeError.
_UNUSABLE = (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, UnicodeError)
FAILURES = (httpx.HTTPError, httpx.InvalidURL, UnicodeError)
# Imports the codec here; the first request would import it otherwise, in a thread of its own.
codecs.lookup("idna")
SENT = "send_request_headers.complete"
_IN_ALL = 4
"""How many times its time-out, which is for each wait, a request may take."""
_SHORT_KEY = 12


class Options(TypedDict):
    """Of an httpx client."""

    headers: dict[bytes, bytes]
    timeout: float
    verify: ssl.SSLContext


@lru_cache(maxsize=1)
def tls() -> ssl.SSLContext:
    """Who is trusted: reading that takes 40 ms, so all clients of a process share it."""
    return httpx.create_ssl_context()


class Http:
    """The requests of one client: how they go out, and what came back."""

    def __init__(self, settings: Settings, timeout_s: float, limiter: RateLimiter) -> None:
        self.settings, self.timeout_s, self.limiter = settings, timeout_s, limiter
        self.known = urlsplit(settings.base_url).hostname or ""
        """A name that exists."""
        self._clock = ServiceClock()

    def options(self) -> Options:
        """What an httpx client is made with."""
        key = self.settings.api_key
        # Over plain HTTP, as a local marketplace's, nobody is trusted.
        plain = self.settings.base_url.lower().startswith("http:")
        return {
            "headers": {
                b"User-Agent": USER_AGENT.encode(),
                b"Accept": b"application/json",
                b"Accept-Encoding": b"gzip",  # what `Body` unpacks
                **({b"auth": SecretBytes(key.encode())} if key else {}),
            },
            "timeout": self.timeout_s,
            "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else tls(),
        }

    def now(self) -> Instant:
        """The time, by the service's clock as far as it is known."""
        return self._clock.now(_local_time())

    def exchange(self, step: Send) -> Exchange:
        """The record of a request that goes out now."""
        has_key = self.settings.api_key is not None
        exchange = Exchange(step.call, self.settings.base_url, has_key, step.tries)
        exchange.sent()
        return exchange

    def request(
        self, client: httpx.Client | httpx.AsyncClient, step: Send, trace: object
    ) -> httpx.Request:
        """The request of a step; `trace` is called with its events."""
        call = step.call
        return client.build_request(
            call.method,
            f"{self.settings.base_url}/{call.path}",
            params=call.params,
            json=call.body,
            extensions={
                "trace": trace,
                "timeout": {
                    phase: min(s or step.within_s, step.within_s)
                    for phase, s in client.timeout.as_dict().items()
                },
            },
        )

    def sent(self, step: Send) -> None:
        """Let the pace count from when the request went out: the first on a connection is late."""
        self.limiter.sent(is_create_order=step.call.is_create_order)

    def bound(self, step: Send) -> Bound:
        """How long the request may take in all."""
        return Bound(min(step.within_s, self.timeout_s * _IN_ALL))

    def reply(self, response: httpx.Response, body: Body) -> Reply:
        """The answer that came."""
        kind, content = response.headers.get("content-type", ""), body.content
        date = response.headers.get("date", "")
        # Neither a page of somebody in between nor what a cache had kept tells the service's time.
        if date and "json" in kind and "age" not in response.headers:
            self._clock.observe(date, _local_time(), response.elapsed.total_seconds())
        # An error page may quote the request. A short key may be a number, or a word.
        key = self.settings.api_key
        if key is not None and len(key) >= _SHORT_KEY:
            for form in forms(key):
                content = content.replace(form.encode(), MASK.encode())
        # A date in the answer is by the clock of its sender.
        now = unix(date) or self.now().wall
        return Reply(
            response.status_code,
            kind,
            content,
            response.headers.get("location"),
            whole=body.whole,
            retry_after_s=retry_after_s(response.headers.get("retry-after", ""), now),
        )

    def no_answer(self, call: Call[Any], exc: BaseException) -> NoReturn:
        """Turn httpx's error into ours, which knows whether the request may have arrived."""
        if not isinstance(_bare(exc), FAILURES):
            raise exc
        where = self.settings.base_url
        if isinstance(exc, _UNUSABLE):
            raise ConfigError(f"{call.path}: {where} can't be used: {exc}") from exc
        never = isinstance(exc, _NEVER_ARRIVED)
        if never:
            what = f"can't reach {where} ({str(exc) or type(exc).__name__}); nothing was sent"
        elif isinstance(exc, httpx.TimeoutException):
            what = "no answer in time"
        else:
            what = f"the connection was cut ({str(exc) or type(exc).__name__})"
        tail = "" if never or call.repeatable else "; the service may have acted on it"
        raise TransportError(f"{call.path}: {what}{tail}.", maybe_acted=not never) from exc


def post_options(step: Post) -> Options:
    """What an httpx client is made with that sends to an address of the user's."""
    headers = {b"User-Agent": USER_AGENT.encode(), b"Content-Type": b"application/json"}
    return {"headers": headers, "timeout": step.within_s, "verify": tls()}


def body_of(response: httpx.Response) -> Body:
    """What its pieces are put together in."""
    return Body(response.headers.get("content-encoding", ""))


def _local_time() -> Instant:
    return Instant(time.time(), time.monotonic())


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


def why(exc: BaseException) -> str:
    """Why no answer came, without the address: it may be a secret."""
    if isinstance(exc, httpx.TimeoutException):
        return "no answer in time"
    if isinstance(exc, _UNUSABLE):
        return "it is not a usable address"
    return "it can't be reached" if isinstance(exc, _NEVER_ARRIVED) else "the connection was cut"
