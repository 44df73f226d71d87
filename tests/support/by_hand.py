"""Drive flows by hand: without a server, a clock or a wait."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Callable, Iterable, Optional, Union

from clore_ai._api.call import Call, Reply
from clore_ai._api.steps import (
    Backoff,
    Clock,
    Flow,
    Instant,
    Local,
    Probe,
    Send,
    Shared,
    Sleep,
    Turn,
)
from clore_ai.exceptions import TransportError

WALL = 1_700_000_000.0
"""The time of day at which every flow starts."""

Answer = Union[Reply, BaseException]
Service = Callable[[Call[Any], float], Answer]


def reply(body: object, status: int = 200) -> Reply:
    """An answer in JSON; bytes are sent unchanged."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, "application/json", content)


def ok(**fields: object) -> Reply:
    return reply({"code": 0, **fields})


def refused() -> TransportError:
    """The connection never opened."""
    return TransportError("refused", maybe_acted=False)


def cut() -> TransportError:
    """The connection was cut after the request was sent."""
    return TransportError("cut", maybe_acted=True)


def row(order_id: int, server: int = 5, ct: Optional[float] = WALL, **fields: object) -> dict:
    """An active order as the live service lists it."""
    return {"id": order_id, "si": server, "ct": ct, "currency": "bitcoin", "price": 1.0, **fields}


@dataclass
class Hand:
    """Performs a flow's steps: time passes only when the flow sleeps.

    `answers`: the answers to requests, in turn; or a service, called with the call and the
    seconds since the start. `turn_s`: how long each turn takes. `within_s`: how long
    the last request may have taken. `probes`: the results of probes, in turn; then nothing.
    """

    answers: Union[Iterable[Answer], Service] = ()
    probes: Iterable[bool] = ()
    now: float = 0.0
    turn_s: float = 0.0
    within_s: float = 0.0
    sent: list[Call[Any]] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    backoffs: list[float] = field(default_factory=list)
    probed: list[tuple[str, int]] = field(default_factory=list)
    shared: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not callable(self.answers):
            script = iter(self.answers)
            self.answers = lambda _call, _now: next(script)
        self.probes = iter(self.probes)

    @property
    def paths(self) -> list[str]:
        return [call.path for call in self.sent]

    @property
    def waits(self) -> list[float]:
        """The sleeps and backoffs."""
        return self.slept + self.backoffs

    def play(self, flow: Flow[Any]) -> Any:
        """The flow's result; its errors are raised."""
        try:
            step = next(flow)
            while True:
                try:
                    answer = self._perform(step)
                except BaseException as exc:  # noqa: BLE001 - as the drivers do
                    step = flow.throw(exc)
                else:
                    step = flow.send(answer)
        except StopIteration as stop:
            return stop.value
        finally:
            flow.close()

    def until(self, flow: Flow[Any], kind: type) -> Any:
        """Step a flow to its first step of a kind, which is not yet answered."""
        step = next(flow)
        while not isinstance(step, kind):
            step = flow.send(self._perform(step))
        return step

    def _perform(self, step: object) -> object:
        if isinstance(step, Send):
            self.sent.append(step.call)
            self.within_s = step.within_s
            answer = self.answers(step.call, self.now)
            if isinstance(answer, BaseException):
                raise answer
            return answer
        if isinstance(step, Local):
            return step.work()
        if isinstance(step, (Sleep, Backoff)):
            kept = self.slept if isinstance(step, Sleep) else self.backoffs
            kept.append(step.seconds)
            self.now += step.seconds
        elif isinstance(step, Turn):
            if self.turn_s > step.within_s:
                self.now += step.within_s
                raise TimeoutError
            self.now += self.turn_s
        elif isinstance(step, Clock):
            return Instant(WALL + self.now, self.now)
        elif isinstance(step, Probe):
            self.probed.append((step.host, step.port))
            return next(self.probes, False)
        elif isinstance(step, Shared):
            self.shared.append(step.key)
            return self.play(step.make())
        else:
            raise TypeError(step)
        return None
