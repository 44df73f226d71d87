"""Waiting for a condition, not for luck."""

from __future__ import annotations

import os
import time
from typing import Callable, TypeVar

T = TypeVar("T")


def patience(calm_s: float) -> float:
    """As many seconds on a machine that is calm, and more on one that is busy."""
    return calm_s * max(1.0, os.getloadavg()[0] / (2 * (os.cpu_count() or 1)))


def until(condition: Callable[[], T], what: str = "it", timeout_s: float = 20.0) -> T:
    """The condition's first true value."""
    timeout_s = patience(timeout_s)
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:.0f} s"
        time.sleep(0.02)
    return value
