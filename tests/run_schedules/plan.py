"""The events of one `clore run`, drawn from its seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from tests.schedules.plan import READ_FAULTS

CREATE_FAULTS = ("late", "cut_before", "act_then_cut", "act_then_500", "500", "rate_limited")
STOPS = ("interrupt", "interrupt twice", "terminate", "kill", "hang up")
LONGEST_S = 5.0


@dataclass(frozen=True)
class Plan:
    """One schedule. Times are seconds after the command's start."""

    seed: int
    lines: int
    pause_s: float
    code: int
    cuts_s: tuple[float, ...]
    """The times at which the ssh master is killed."""
    faults: tuple[dict[str, Any], ...]
    loses_host: bool
    stop: str | None
    stop_s: float

    @property
    def script(self) -> str:
        """The job: numbered lines, then its own exit code."""
        return (
            f"i=0; while [ $i -lt {self.lines} ]; do i=$((i+1)); echo line $i of {self.seed}; "
            f"sleep {self.pause_s}; done; exit {self.code}"
        )

    @property
    def output(self) -> str:
        """The complete output of the job."""
        return "".join(f"line {i + 1} of {self.seed}\n" for i in range(self.lines))


def draw(seed: int) -> Plan:
    """The schedule of a seed."""
    dice = random.Random(seed)
    faults: list[dict[str, Any]] = []
    if dice.random() < 0.3:
        faults.append(_fault("create_order", dice.choice(CREATE_FAULTS)))
    faults += [
        _fault(endpoint, dice.choice(READ_FAULTS), dice.choice((1, 2)))
        for endpoint in ("my_orders", "cancel_order")
        if dice.random() < 0.35
    ]
    loses_host = dice.random() < 0.15
    if loses_host:
        delay_s = dice.uniform(0.5, LONGEST_S)
        faults.append({**_fault("create_order", "host_dies"), "delay_s": delay_s})
    cuts = dice.choice((0, 0, 1, 3))
    return Plan(
        seed=seed,
        lines=dice.choice((0, 1, 20, 100)),
        pause_s=dice.choice((0, 0.01, 0.03)),
        code=dice.choice((0, 0, 3, 77, 127)),
        cuts_s=tuple(sorted(dice.uniform(0.5, LONGEST_S) for _ in range(cuts))),
        faults=tuple(faults),
        loses_host=loses_host,
        stop=dice.choice((*STOPS, *(None,) * len(STOPS))),
        stop_s=dice.uniform(0.1, LONGEST_S),
    )


def _fault(endpoint: str, kind: str, times: int = 1) -> dict[str, Any]:
    return {"endpoint": endpoint, "kind": kind, "times": times, "delay_s": 0.6}
