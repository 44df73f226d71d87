"""HTTP for both drivers: how a request is sent, its answer, and why none came."""

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
# The standard library rejects an impossible host name with UnicodeError.
_UNUSABLE = (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, UnicodeError)
FAILURES = (httpx.HTTPError, httpx.InvalidURL, UnicodeError)
# Imports the codec now; otherwise the first request would import it, in another thread.
codecs.lookup("idna")
SENT = "send_request_headers.complete"
_IN_ALL = 4
"""A whole request may take this many times its timeout, which applies to each wait."""
_SHORT_KEY = 12


class Options(TypedDict):
    """Arguments of an httpx client."""

    headers: dict[bytes, bytes]
    timeout: float
    verify: ssl.SSLContext


@lru_cache(maxsize=1)
def tls() -> ssl.SSLContext:
    """The trusted certificates, read once per process, since that takes 40 ms."""
    return httpx.create_ssl_context()


class Http:
    """The requests of one client, and their answers."""

    def __init__(
        self,
        settings: Settings,
        timeout_s: float,
        limiter: RateLimiter,
        clock: ServiceClock | None = None,
    ) -> None:
        self.settings, self.timeout_s, self.limiter = settings, timeout_s, limiter
        self.known = urlsplit(settings.base_url).hostname or ""
        """A host name that exists."""
        self.clock = clock or ServiceClock()

    def options(self) -> Options:
        """The arguments for the httpx client."""
        key = self.settings.api_key
        # Plain HTTP, as of a local marketplace, needs no certificates.
        plain = self.settings.base_url.lower().startswith("http:")
        return {
            "headers": {
                b"User-Agent": USER_AGENT.encode(),
                b"Accept": b"application/json",
                b"Accept-Encoding": b"gzip",  # what `Body` decompresses
                **({b"auth": SecretBytes(key.encode())} if key else {}),
            },
            "timeout": self.timeout_s,
            "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else tls(),
        }

    def now(self) -> Instant:
        """The time by the service's clock, as far as it is known."""
        return self.clock.now(_local_time())

    def exchange(self, step: Send) -> Exchange:
        """The record of a request that is sent now."""
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
        """Count the pace from when the request was sent: the first on a connection is late."""
        self.limiter.sent(is_create_order=step.call.is_create_order)

    def bound(self, step: Send) -> Bound:
        """How long the request may take in all."""
        return Bound(min(step.within_s, self.timeout_s * _IN_ALL))

    def reply(self, response: httpx.Response, body: Body) -> Reply:
        """The answer as a `Reply`."""
        kind, content = response.headers.get("content-type", ""), body.content
        date = response.headers.get("date", "")
        # An intermediary's page, or a cached answer, does not have the service's time.
        if date and "json" in kind and "age" not in response.headers:
            self.clock.observe(date, _local_time(), response.elapsed.total_seconds())
        # An error page may quote the request. A short key may be a number, or a word.
        key = self.settings.api_key
        if key is not None and len(key) >= _SHORT_KEY:
            for form in forms(key):
                content = content.replace(form.encode(), MASK.encode())
        # A date in the answer is of its sender's clock.
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
        """Turn httpx's error into ours, which records whether the request may have arrived."""
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
        tail = "" if never or call.repeatable else "; the request may have been acted on"
        raise TransportError(f"{call.path}: {what}{tail}.", maybe_acted=not never) from exc


def post_options(step: Post) -> Options:
    """The arguments for an httpx client that sends to the user's own address."""
    headers = {b"User-Agent": USER_AGENT.encode(), b"Content-Type": b"application/json"}
    return {"headers": headers, "timeout": step.within_s, "verify": tls()}


def body_of(response: httpx.Response) -> Body:
    """The `Body` that assembles its pieces."""
    return Body(response.headers.get("content-encoding", ""))


def _local_time() -> Instant:
    return Instant(time.time(), time.monotonic())


def _bare(exc: BaseException) -> BaseException:
    """The error without its traceback: httpx's frames hold the header with the key."""
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
    """Why no answer came, without the address, which may be a secret."""
    if isinstance(exc, httpx.TimeoutException):
        return "no answer in time"
    if isinstance(exc, _UNUSABLE):
        return "it is not a usable address"
    return "it can't be reached" if isinstance(exc, _NEVER_ARRIVED) else "the connection was cut"
