"""How long a test waits for its marketplace: the set-up of the fixture `clore_sandbox`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.pairs import Pairs
from bench.report import Row, timed
from clore_sandbox.testing import marketplace

if TYPE_CHECKING:
    from bench.setting import Setting

AT_MOST_S = 0.3


def measure(setting: Setting) -> list[Row]:
    """Fresh ones, one after the other; the first, which imports, is not counted."""
    seconds: list[float] = []
    for _ in range(1 + setting.runs):
        began = time.perf_counter()
        with marketplace():
            seconds.append(time.perf_counter() - began)
    what = "a fresh marketplace for a test"
    return [timed(what, Pairs(seconds[1:], []), ours_at_most_s=AT_MOST_S)]
