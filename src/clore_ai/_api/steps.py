"""What to do, never how: a flow yields the steps that it needs and is sent their answers.

`Flow[T]` is a generator; `_io` performs its steps, blocking or in an event loop. Nothing here
may wait, send or read a clock. The rule for sending again is written once, in `request`:
*could the service have acted?*

- Code 5 and a connection that never opened: surely not. Any call is sent again, at most
  `max_retries` times, after 1 s, 2 s, 4 s … (004, Rate Limiter), each up to half as long again,
  so that those who failed together do not come back together.
- A `Retry-After` that asks for a longer wait gets it. If it ends after the deadline, the error
  comes at once and says until when.
- A cut connection, a time-out, code 1, a 5xx: perhaps. Only a repeatable call is sent again.
- Everything else is the caller's to know: it is raised at once.
- All of it is over `deadline_s` after the call's first turn: then its last error is raised. Before
  that turn nothing went wrong, and how long it takes is up to who else asks with this key.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Generator,
    Generic,
    Iterable,
    TypeVar,
    Union,
)

from clore_ai._api.answers import decipher
from clore_ai._api.waits import WAITS
from clore_ai.exceptions import AuthError, CloreAPIError, RateLimitError, TransportError

if TYPE_CHECKING:
    from pathlib import Path

    from clore_ai._api.call import Body, Call, Reply

T = TypeVar("T")

_REFUSED = 6
"""The code whose reason is in `error` (service.md, 1)."""
JITTER = 0.5
"""By what share of itself a wait may be longer; never shorter: code 5 wants its second."""
DEADLINE_S = 120.0
_FOREVER = float("inf")


@dataclass(frozen=True)
class Turn:
    """Wait until the pace allows the next request; `TimeoutError` if not within `within_s`."""

    is_create_order: bool
    within_s: float = _FOREVER


@dataclass(frozen=True)
class Send:
    """Send one request, its turn having come. Answered by a `Reply`, or by `TransportError`.

    `within_s` shortens the time-out of the attempt.
    """

    call: Call[Any]
    within_s: float = _FOREVER
    tries: int = 1
    """With this one."""


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
    """`wall`: unix seconds by the service's clock. `mono`: seconds that never jump, for deadlines.

    `ahead_s`: how far the service's clock is ahead of this machine's, as far as is known.
    """

    wall: float
    mono: float
    ahead_s: float = 0.0


@dataclass(frozen=True)
class Probe:
    """Does an SSH server greet at this address? Answered within `timeout_s`.

    By a bool; or, where this machine is why nothing can be said of the server, by a clause.
    """

    host: str
    port: int
    timeout_s: float = 5.0


@dataclass(frozen=True)
class Way:
    """Is there a way from here to this address? Answered by what is wrong here, or by "".

    With `opens` a connection must open, too, within `timeout_s`; else nothing is sent.
    """

    host: str
    port: int
    opens: bool = False
    timeout_s: float = 5.0


@dataclass(frozen=True)
class Exec:
    """Run a program of this machine to its end: ssh. Answered by a `Done`, however it ended.

    It is ended with all that it started when `within_s` is over, or when the flow is.
    """

    words: tuple[str, ...]
    stdin: Union[bytes, Iterable[bytes]] = b""
    within_s: float = 60.0
    silent_s: float = _FOREVER
    """How long nothing may move: no byte in, none out."""
    folder: str | None = None
    """Where it runs; None for where this process is."""
    most: int = 1 << 24
    """Bytes that it may write to its standard output; a program that writes more is ended."""


@dataclass(frozen=True)
class Done:
    """How a program ended, and what it said. `code`: None if it took too long or wrote too much.

    A program that is not here: `code` 127, as in a shell. What a signal ended: its negative.
    Of its standard errors the last 64 KiB are kept.
    """

    code: int | None
    out: bytes
    err: bytes
    flooded: bool = False
    """Was it ended because it wrote more than `Exec.most`? Then `out` is empty."""
    errno: int | None = None
    """Why it could not be started; None where it was."""


@dataclass(frozen=True)
class Fetch:
    """Bring a file or a folder's content back from a machine. Raises `TransportError` if it fails.

    Answered by the reasons for which some of it was not taken, by name.
    """

    ssh: Callable[[str], tuple[str, ...]]
    """The words that run a line of the shell there."""
    remote: str
    goal: Path
    most: int
    """Bytes that it may hold."""


@dataclass(frozen=True)
class Put:
    """Bring a file or a folder's content to a machine. Raises `TransportError` if it fails."""

    ssh: Callable[[str], tuple[str, ...]]
    local: Path
    remote: str


@dataclass(frozen=True)
class Post:
    """Send JSON to an address of the user's, once and without the key. Answered by a `Posted`."""

    url: str = field(repr=False)
    """Whoever knows it may be allowed to write there: never to be shown."""
    body: bytes
    within_s: float = 20.0


@dataclass(frozen=True)
class Posted:
    """The HTTP status that came back, or why none did."""

    status: int | None
    why: str = ""


@dataclass(frozen=True)
class Shared(Generic[T]):
    """The result of `make()`; whoever asks for the same `key` meanwhile gets the same result."""

    key: str
    make: Callable[[], Flow[T]]


@dataclass(frozen=True)
class Local(Generic[T]):
    """Use what is kept on this machine: a file, the database, a lock. Answered by the result.

    `work` may have to wait for another process. Once begun it is done to its end: what stops the
    flow meanwhile is raised by a later step.
    """

    work: Callable[[], T]


Stoppable = Union[
    Turn, Send, Backoff, Sleep, Clock, Probe, Way, Exec, Fetch, Put, Post, Shared[Any]
]
Step = Union[Stoppable, Local[Any]]
Flow = Generator[Step, Any, T]


@dataclass(frozen=True)
class Rules:
    """What a client was told: is there a key, how often and how long may a call be sent again.

    `chance`: a number from 0 to 1, for the waits.
    """

    has_key: bool = True
    max_retries: int = 3
    deadline_s: float = DEADLINE_S
    chance: Callable[[], float] = random.random


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
    backoff_s = WAITS.backoff_s
    lost = False
    failure: CloreAPIError | None = None
    until = _FOREVER
    for left in range(rules.max_retries, -1, -1):
        now = yield from _turn(call, rules, until, failure)
        if failure is None:
            until = now + rules.deadline_s
        asked_s: float | None = None
        try:
            reply: Reply = yield Send(call, until - now, rules.max_retries - left + 1)
            asked_s = reply.retry_after_s
            return decipher(call, reply)
        except CloreAPIError as exc:
            if lost and call.already is not None:
                if exc.error == call.already:
                    return {"code": 0}
                # A refusal that came without its reason may be that one: no answer to go by.
                exc.maybe_acted = exc.maybe_acted or (exc.code == _REFUSED and exc.error is None)
            lost = lost or exc.maybe_acted
            if not _again(call, exc):
                raise
            failure = exc
        wait_s = max(backoff_s * (1 + JITTER * rules.chance()), asked_s or 0)
        instant = yield from clock()
        if not left or instant.mono + wait_s >= until:
            raise _last(failure, rules, instant, asked_s, left)
        yield Backoff(wait_s) if isinstance(failure, RateLimitError) else Sleep(wait_s)
        backoff_s *= 2
    raise AssertionError("max_retries is negative")  # pragma: no cover - the clients refuse it


def _again(call: Call[Any], exc: CloreAPIError) -> bool:
    """May the call be sent again, and is it worth it?"""
    if exc.maybe_acted:
        return call.repeatable
    return isinstance(exc, (RateLimitError, TransportError))


def _turn(
    call: Call[Any], rules: Rules, until: float, failure: CloreAPIError | None
) -> Flow[float]:
    """When the call's turn came, on the clock that never jumps."""
    if failure is None:
        yield Turn(call.is_create_order)
        return (yield from clock()).mono
    now = (yield from clock()).mono
    try:
        yield Turn(call.is_create_order, until - now)
    except TimeoutError:
        raise _over(failure, rules) from None
    return (yield from clock()).mono


def _last(
    failure: CloreAPIError, rules: Rules, now: Instant, asked_s: float | None, left: int
) -> CloreAPIError:
    """The failure after which there is no other try, and when or why not."""
    if asked_s:
        until = datetime.fromtimestamp(now.wall + asked_s, timezone.utc)
        asked = f"The service asks to wait until {until:%Y-%m-%d %H:%M:%S} UTC; try again then."
        return _more(failure, asked)
    return _over(failure, rules) if left else failure


def _over(failure: CloreAPIError, rules: Rules) -> CloreAPIError:
    return _more(failure, f"Not retried: the call's deadline of {rules.deadline_s:g} s has passed.")


def _more(failure: CloreAPIError, sentence: str) -> CloreAPIError:
    """The same error, with another sentence."""
    failure.args = (f"{failure} {sentence}", *failure.args[1:])
    return failure


def clock() -> Flow[Instant]:
    """The time."""
    instant: Instant = yield Clock()
    return instant


def local(work: Callable[..., T], *args: Any, **kwargs: Any) -> Flow[T]:  # noqa: ANN401 - of `work`
    """The result of `work`, which uses files, the database or a lock of this machine."""
    result: T = yield Local(partial(work, *args, **kwargs))
    return result


class NoWayOutError(TransportError):
    """The network of this machine leads to none of the hosts; `why` is a clause."""

    def __init__(self, why: str) -> None:
        super().__init__(f"SSH can't be reached from this machine ({why}).")
        self.why = why


def probe(hosts: list[str], port: int, timeout_s: float = 5.0) -> Flow[str | None]:
    """The first of `hosts` where an SSH server greets at `port`, or None.

    Raises:
        NoWayOutError: this machine is why none can be reached.
    """
    found: list[bool | str] = []
    for host in hosts:
        found.append((yield Probe(host, port, timeout_s)))
        if found[-1] is True:
            return host
    if found and all(found):
        raise NoWayOutError(str(found[-1]))
    return None
