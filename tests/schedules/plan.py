"""One schedule, drawn from its seed: who rents, which faults occur, where it is stopped."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

FACES = ("sync", "async", "cli")
CREATE_FAULTS = (
    "late", "cut_before", "act_then_cut", "act_then_500", "500", "rate_limited", "cdn_403",
    "html_502", "truncated_json", "missing_fields", "odd_fields",
)  # fmt: skip
READ_FAULTS = ("late", "cut_before", "500", "rate_limited", "html_502", "truncated_json",
               "missing_fields", "odd_fields", "act_then_cut")  # fmt: skip
ORDER_FAULTS = ("never_boots", "no_ssh", "refuses_key", "host_dies")
STOPS = ("kill", "interrupt", "cancel")
MOST_STEPS = 24
"""Create, wait and cancel take about this many steps."""


@dataclass(frozen=True)
class Plan:
    """One schedule. The stop comes at a step of the flow (SDK), or after a time, or never."""

    seed: int
    face: str
    kind: str
    ref: str | None
    waits: bool
    cancels: bool
    faults: tuple[dict[str, Any], ...]
    stop: str | None = None
    at_step: int | None = None
    after_s: float | None = None
    again: bool = False
    """The same `client_ref` is used once more at the end."""
    rivals: int = 1
    """The number of processes that do this at once, with one ref."""
    timeout_s: float = field(default=0.4)


def draw(seed: int) -> Plan:
    """The schedule of a seed."""
    dice = random.Random(seed)
    face = dice.choice(FACES)
    faults: list[dict[str, Any]] = []
    if dice.random() < 0.75:
        kind = dice.choice(CREATE_FAULTS)
        times = dice.choice((1, 1, 1, 2, 6)) if kind == "rate_limited" else 1
        faults.append(_fault("create_order", kind, times))
    for endpoint, share in (("my_orders", 0.4), ("cancel_order", 0.4)):
        if dice.random() < share:
            faults.append(_fault(endpoint, dice.choice(READ_FAULTS), dice.choice((1, 1, 2, 3))))
    if dice.random() < 0.15:
        faults.append(_fault("create_order", dice.choice(ORDER_FAULTS), 1))
    stop = dice.choice((None, None, *STOPS))
    if stop == "cancel" and face != "async":
        stop = dice.choice(("kill", "interrupt"))
    by_step = face != "cli" and dice.random() < 0.6
    ref = dice.choice((None, "job"))
    return Plan(
        seed=seed,
        face=face,
        kind=dice.choice(("on-demand", "on-demand", "spot")),
        ref=ref,
        waits=dice.random() < 0.4,
        cancels=dice.random() < 0.6,
        faults=tuple(faults),
        stop=stop,
        at_step=dice.randrange(MOST_STEPS) if stop and by_step else None,
        after_s=dice.uniform(0, 0.5) if stop and not by_step else None,
        again=ref is not None and dice.random() < 0.5,
        rivals=2 if ref is not None and dice.random() < 0.25 else 1,
    )


def _fault(endpoint: str, kind: str, times: int) -> dict[str, Any]:
    return {"endpoint": endpoint, "kind": kind, "times": times, "delay_s": 0.6}
