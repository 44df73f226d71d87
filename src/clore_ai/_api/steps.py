"""The steps of flows: a flow yields the steps that it needs, and receives their results.

`Flow[T]` is a generator; `_io` performs its steps, blocking or in an event loop. Nothing here
may wait, send or read a clock. Most steps are named tuples: Python makes the class of one in a
fifth of the time that a frozen dataclass takes, at each start of a program. The rule for retries is
written once, in `request`: *could the service have acted?*

- Code 5, or a connection that never opened: certainly not. Any call is retried, at most
  `max_retries` times, after 1 s, 2 s, 4 s … (004, Rate Limiter), each with up to 50 % jitter on
  top, so that clients that failed together do not return together.
- A `Retry-After` that asks for a longer wait is respected. If it ends after the deadline, the error
  is raised at once and names the time.
- A cut connection, a timeout, code 1, a 5xx: perhaps. Only a repeatable call is retried.
- Every other error is for the caller: it is raised at once.
- At `deadline_s` after the call's first turn, the last error is raised. The wait for that turn does
  not count: it depends on the other users of this key.
"""

from __future__ import annotations

import random
import sys
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
    NamedTuple,
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
"""Maximum jitter, as a share of the wait. Waits are only lengthened: code 5 needs its second."""
DEADLINE_S = 120.0
_FOREVER = float("inf")


class Turn(NamedTuple):
    """Wait until the pace allows the next request; `TimeoutError` if not within `within_s`."""

    is_create_order: bool
    within_s: float = _FOREVER


class Send(NamedTuple):
    """Send one request, whose turn has come. The result is a `Reply`, or `TransportError`.

    `within_s` shortens the attempt's timeout.
    """

    call: Call[Any]
    within_s: float = _FOREVER
    tries: int = 1
    """The number of attempts, this one included."""


class Backoff(NamedTuple):
    """After code 5: the whole client sends nothing for `seconds`."""

    seconds: float


class Sleep(NamedTuple):
    """Wait `seconds`."""

    seconds: float


class Clock(NamedTuple):
    """Read the clocks. The result is an `Instant`."""


class Instant(NamedTuple):
    """`wall`: unix seconds by the service's clock. `mono`: the monotonic clock, for deadlines.

    `ahead_s`: how far the service's clock is known to be ahead of this machine's.
    """

    wall: float
    mono: float
    ahead_s: float = 0.0


class Probe(NamedTuple):
    """Does an SSH server greet at this address, within `timeout_s`?

    The result is a bool, or a clause on the local fault that prevented the check.
    """

    host: str
    port: int
    timeout_s: float = 5.0


class Way(NamedTuple):
    """Is there a route from here to this address? The result is the local fault, or "".

    With `opens` a connection must also open, within `timeout_s`; else nothing is sent.
    """

    host: str
    port: int
    opens: bool = False
    timeout_s: float = 5.0


class Exec(NamedTuple):
    """Run a local program, such as ssh, to its end. The result is a `Done`, however it ended.

    It is ended with all its children after `within_s`, or when the flow ends.
    """

    words: tuple[str, ...]
    stdin: Union[bytes, Iterable[bytes]] = b""
    within_s: float = 60.0
    silent_s: float = _FOREVER
    """How long the program may neither read nor write a byte."""
    folder: str | None = None
    """Its working folder; None for this process's own."""
    most: int = 1 << 24
    """The most bytes of standard output; a program that writes more is ended."""


class Done(NamedTuple):
    """How a program ended, and its output. `code`: None if it took too long or wrote too much.

    If the program is not installed, `code` is 127, as in a shell; after a signal, it is the
    signal's negative number. The last 64 KiB of standard error are kept.
    """

    code: int | None
    out: bytes
    err: bytes
    flooded: bool = False
    """Was the program ended because it wrote more than `Exec.most`? Then `out` is empty."""
    errno: int | None = None
    """Why the program could not be started; None if it was."""


@dataclass(frozen=True)
class Fetch:
    """Fetch a file or a folder's content from a machine. Raises `TransportError` if it fails.

    The result is the refused files, with the reasons.
    """

    ssh: Callable[[str], tuple[str, ...]]
    """The command line that runs a line of the machine's shell."""
    remote: str
    goal: Path
    most: int
    """The most bytes that are fetched."""


@dataclass(frozen=True)
class Put:
    """Upload a file or a folder's content to a machine. Raises `TransportError` if it fails."""

    ssh: Callable[[str], tuple[str, ...]]
    local: Path
    remote: str


@dataclass(frozen=True)
class Post:
    """Send JSON to the user's own address, once and without the key. The result is a `Posted`."""

    url: str = field(repr=False)
    """A secret, since it may be all that one needs to write there: never shown."""
    body: bytes
    within_s: float = 20.0


class Posted(NamedTuple):
    """The HTTP status of the answer, or why none came."""

    status: int | None
    why: str = ""


@dataclass(frozen=True)
class Shared(Generic[T]):
    """The result of `make()`; flows that ask for the same `key` meanwhile get the same result."""

    key: str
    make: Callable[[], Flow[T]]


@dataclass(frozen=True)
class Local(Generic[T]):
    """Use local state: a file, the database, a lock. The result is that of `work`.

    `work` may have to wait for another process. Once begun it runs to its end: a stop of the flow
    meanwhile is raised by a later step.
    """

    work: Callable[[], T]


Stoppable = Union[
    Turn, Send, Backoff, Sleep, Clock, Probe, Way, Exec, Fetch, Put, Post, Shared[Any]
]
Step = Union[Stoppable, Local[Any]]
Flow = Generator[Step, Any, T]


@dataclass(frozen=True)
class Rules:
    """The settings of a client: is there a key, and how often and how long may a call be retried?

    `chance`: a random number from 0 to 1, for the jitter.
    """

    has_key: bool = True
    max_retries: int = 3
    deadline_s: float = DEADLINE_S
    chance: Callable[[], float] = random.random


def request(call: Call[T], rules: Rules) -> Flow[T]:
    """The parsed answer to one call, which is retried by the module's rules.

    Raises:
        AuthError: the call needs a key and there is none; nothing was sent.
        CloreAPIError: the error of the last answer.
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
                # A refusal without its reason may be that one, so it decides nothing.
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
    """May the call be retried, and would that help?"""
    if exc.maybe_acted:
        return call.repeatable
    return isinstance(exc, (RateLimitError, TransportError))


def _turn(
    call: Call[Any], rules: Rules, until: float, failure: CloreAPIError | None
) -> Flow[float]:
    """When the call's turn came, on the monotonic clock."""
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
    """The failure after which there is no retry, with the reason, or the time to wait for."""
    if asked_s:
        until = datetime.fromtimestamp(now.wall + asked_s, timezone.utc)
        asked = f"The service asks to wait until {until:%Y-%m-%d %H:%M:%S} UTC; try again then."
        return _more(failure, asked)
    return _over(failure, rules) if left else failure


def _over(failure: CloreAPIError, rules: Rules) -> CloreAPIError:
    return _more(failure, f"Not retried: the call's deadline of {rules.deadline_s:g} s has passed.")


def _more(failure: CloreAPIError, sentence: str) -> CloreAPIError:
    """The same error with one more sentence."""
    failure.args = (f"{failure} {sentence}", *failure.args[1:])
    return failure


def clock() -> Flow[Instant]:
    """The time."""
    instant: Instant = yield Clock()
    return instant


def local(work: Callable[..., T], *args: Any, **kwargs: Any) -> Flow[T]:  # noqa: ANN401 - of `work`
    """The result of `work`, which uses local files, the database or a lock."""
    result: T = yield Local(partial(work, *args, **kwargs))
    return result


def at_last(work: Callable[..., T], *args: Any, **kwargs: Any) -> Flow[T]:  # noqa: ANN401 - of `work`
    """As `local`, in a `finally`: done at once if the flow is closed, which takes no more steps."""
    if isinstance(sys.exc_info()[1], GeneratorExit):
        return work(*args, **kwargs)
    return (yield from local(work, *args, **kwargs))


class NoWayOutError(TransportError):
    """This machine's network can't reach any of the hosts; `why` is a clause."""

    def __init__(self, why: str) -> None:
        super().__init__(f"SSH can't be reached from this machine ({why}).")
        self.why = why


def probe(hosts: list[str], port: int, timeout_s: float = 5.0) -> Flow[str | None]:
    """The first of `hosts` where an SSH server greets at `port`, or None.

    Raises:
        NoWayOutError: none can be reached, because of this machine.
    """
    found: list[bool | str] = []
    for host in hosts:
        found.append((yield Probe(host, port, timeout_s)))
        if found[-1] is True:
            return host
    if found and all(found):
        raise NoWayOutError(str(found[-1]))
    return None
