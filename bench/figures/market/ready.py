"""How long a test waits for its marketplace, and a newcomer for the end of `clore demo`."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bench.environment import here
from bench.pairs import Pairs
from bench.report import Row, timed
from clore_sandbox.testing import marketplace

if TYPE_CHECKING:
    from bench.setting import Setting

AT_MOST_S = 0.3
DEMO_AT_MOST_S = 30.0
DEMOS = 3


def measure(setting: Setting) -> list[Row]:
    """Start fresh ones in turn; the first, which imports the modules, is not counted."""
    seconds: list[float] = []
    for _ in range(1 + setting.runs):
        began = time.perf_counter()
        with marketplace():
            seconds.append(time.perf_counter() - began)
    what = "a fresh marketplace for a test"
    with ThreadPoolExecutor(DEMOS) as pool:
        demos = list(pool.map(_demo, [setting] * (1 if setting.quick else DEMOS)))
    return [
        timed(what, Pairs(seconds[1:], []), ours_at_most_s=AT_MOST_S),
        timed("clore demo", Pairs(demos, []), ours_at_most_s=DEMO_AT_MOST_S,
              notes=["the paces of the service are in it; all run at once."]),
    ]  # fmt: skip


def _demo(setting: Setting) -> float:
    began = time.perf_counter()
    words = [str(here().ours.clore), "demo"]  # needs the marketplace, which a user's clore lacks
    subprocess.run(words, env=setting.environ(), check=True, capture_output=True)
    return time.perf_counter() - began
