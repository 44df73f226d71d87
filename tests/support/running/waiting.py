"""Waits for a condition instead of a fixed time."""

from __future__ import annotations

import os
import time
from typing import Callable, TypeVar

T = TypeVar("T")


def patience(calm_s: float) -> float:
    """So many seconds on a calm machine, and more on a busy one."""
    return calm_s * max(1.0, os.getloadavg()[0] / (2 * (os.cpu_count() or 1)))


def until(condition: Callable[[], T], what: str = "it", timeout_s: float = 20.0) -> T:
    """Wait until the condition is true, and return its value.

    The more a look costs, the longer the pause before the next: others need the processor.
    """
    timeout_s = patience(timeout_s)
    deadline = time.monotonic() + timeout_s
    before = time.thread_time()
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:.0f} s"
        after = time.thread_time()
        time.sleep(max(0.02, 5 * (after - before)))
        before = after
    return value
