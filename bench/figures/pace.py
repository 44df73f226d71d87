"""Paced calls against the strict limit, time scaled: refusals, and the share of the allowed rate.

Counted by the marketplace. A refusal is a 429; the share is the rate of accepted calls, from the
first to the last on the market's clock, relative to the allowed one per second. 0.1.1 backs off for
seconds after each refusal, so it makes fewer calls; both numbers are shares.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bench.report import Row

if TYPE_CHECKING:
    from bench.environment import Place
    from bench.setting import Setting

CALLS = 50
THEIR_CALLS = 20
TIME_SCALE = 5.0
LEAST_SHARE = 0.9
MODES = {"sync": "in a loop", "threads": "from 8 threads", "gather": "in one asyncio.gather"}


@dataclass(frozen=True)
class Count:
    """Calls, refusals, share of the allowed rate, and calls that failed after all retries."""

    calls: int
    refused: int
    share: float
    failed: int

    @property
    def cell(self) -> str:
        """The count as printed."""
        return f"{self.refused / self.calls:.0%} refused, {self.share:.3f} of the rate"


def measure(setting: Setting) -> list[Row]:
    """One row per way of calling. Ours are counted one after the other, 0.1.1's at once."""
    calls, their_calls = (10, 10) if setting.quick else (CALLS, THEIR_CALLS)
    ours = [_count(setting, setting.places.ours, mode, calls) for mode in MODES]
    theirs: list[Count | None] = [None] * len(MODES)
    if setting.places.theirs is not None:
        count = partial(_count, setting, setting.places.theirs, calls=their_calls)
        with ThreadPoolExecutor(len(MODES)) as pool:
            theirs[:] = pool.map(count, MODES)
    rows = list(map(_row, MODES.values(), ours, theirs))
    rows[0].notes.append(
        f"the market's time runs {TIME_SCALE:g} times as fast and the pace with it, one call per "
        f"{1000 / TIME_SCALE:g} ms; counts by the marketplace, one run each; waits after a "
        f"refusal stay as they are, 1 s and more, so 0.1.1 makes {THEIR_CALLS} calls."
    )
    return rows


def _row(words: str, ours: Count, theirs: Count | None) -> Row:
    lost = " and ".join(f"{each.failed} of {each.calls}" for each in (ours, theirs) if each)
    return Row(
        f"{ours.calls} paced calls {words}",
        ours.cell,
        theirs.cell if theirs else "-",
        target=f"0 refused, >= {LEAST_SHARE}",
        met=not ours.refused and ours.share >= LEAST_SHARE and not ours.failed,
        notes=[f"calls that failed for good: {lost}."],
    )


def _count(setting: Setting, place: Place, mode: str, calls: int) -> Count:
    with setting.sandbox(time_scale=TIME_SCALE) as sandbox:
        answer = setting.ask(place, "pace", sandbox, mode, calls, 1 / TIME_SCALE)
        journal = sandbox.journal()
    passed = [entry.time for entry in journal if entry.status == 200]
    lasted = max(passed) - min(passed) if passed[1:] else 0.0
    share = (len(passed) - 1) / lasted if lasted else 0.0
    refused = sum(entry.status == 429 for entry in journal)
    return Count(calls, refused, share, answer["failed"])
