"""What to do, never how: a flow yields the steps that it needs and is sent their answers.

`Flow[T]` is a generator; `_drive` performs its steps, blocking or in an event loop. Nothing here
may wait, send or read a clock. The rule for sending again is written once, in `request`:
*could the service have acted?*

- Code 5 and a connection that never opened: surely not. Any call is sent again, at most
  `max_retries` times, after 1 s, 2 s, 4 s … (004, Rate Limiter).
- A cut connection, a time-out, code 1, a 5xx: perhaps. Only a repeatable call is sent again.
- Everything else is the caller's to know: it is raised at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Generator, Generic, TypeVar, Union

from clore_ai import _wire
from clore_ai.exceptions import AuthError, CloreAPIError, RateLimitError, TransportError

if TYPE_CHECKING:
    from clore_ai._wire import Body, Call, Reply

T = TypeVar("T")

FIRST_BACKOFF_S = 1.0


@dataclass(frozen=True)
class Send:
    """Send one request when the pace allows. Answered by a `Reply`, or by `TransportError`."""

    call: Call[Any]


@dataclass(frozen=True)
class Backoff:
    """Code 5 came: let the whole client send nothing for `seconds`."""

    seconds: float


@dataclass(frozen=True)
class Sleep:
    """Wait `seconds`."""

    seconds: float


@dataclass(frozen=True)
class Clock:
    """Answered by an `Instant`."""


@dataclass(frozen=True)
class Instant:
    """`wall`: unix seconds. `mono`: seconds that never jump, for deadlines."""

    wall: float
    mono: float


@dataclass(frozen=True)
class Probe:
    """Does an SSH server greet at this address? Answered by a bool within `timeout_s`."""

    host: str
    port: int
    timeout_s: float = 5.0


@dataclass(frozen=True)
class Shared(Generic[T]):
    """The result of `make()`; whoever asks for the same `key` meanwhile gets the same result."""

    key: str
    make: Callable[[], Flow[T]]


Step = Union[Send, Backoff, Sleep, Clock, Probe, Shared[Any]]
Flow = Generator[Step, Any, T]


@dataclass(frozen=True)
class Rules:
    """What a client was told: is there a key, and how often may a call be sent again."""

    has_key: bool = True
    max_retries: int = 3


def request(call: Call[T], rules: Rules) -> Flow[T]:
    """The parsed answer to one call, sent again as the module's rule allows.

    Raises:
        AuthError: the call needs a key and there is none; nothing was sent.
        CloreAPIError: what the last answer said.
        TransportError: no answer came.
    """
    body = yield from answer(call, rules)
    return call.parse(body)


def answer(call: Call[Any], rules: Rules) -> Flow[Body]:
    """As `request`, without parsing."""
    if call.needs_key and not rules.has_key:
        raise AuthError(
            f"{call.path} needs an API key. Give api_key=…, set CLORE_API_KEY, or run: "
            "clore config set api_key",
            3,
        )
    backoff_s = FIRST_BACKOFF_S
    lost = False
    for left in range(rules.max_retries, -1, -1):
        try:
            reply: Reply = yield Send(call)
            return _wire.decipher(call, reply)
        except RateLimitError:
            if not left:
                raise
            yield Backoff(backoff_s)
        except CloreAPIError as exc:
            if lost and call.already is not None and exc.error == call.already:
                return {"code": 0}
            lost = lost or exc.maybe_acted
            again = call.repeatable if exc.maybe_acted else isinstance(exc, TransportError)
            if not (left and again):
                raise
            yield Sleep(backoff_s)
        backoff_s *= 2
    raise AssertionError("max_retries is below 0")  # pragma: no cover - the clients refuse it


def clock() -> Flow[Instant]:
    """The time."""
    instant: Instant = yield Clock()
    return instant


def probe(hosts: list[str], port: int, timeout_s: float = 5.0) -> Flow[str | None]:
    """The first of `hosts` where an SSH server greets at `port`, or None."""
    for host in hosts:
        up: bool = yield Probe(host, port, timeout_s)
        if up:
            return host
    return None
