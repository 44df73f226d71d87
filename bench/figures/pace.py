"""Paced calls against the strict limit, time scaled: refusals, and the share of the allowed rate.

Counted by the marketplace. A refusal is a 429; the share is the rate of accepted calls, from the
first to the last on the market's clock, relative to the allowed one per second. 0.1.1 backs off for
seconds after each refusal, so it makes fewer calls; both numbers are shares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.report import Row

if TYPE_CHECKING:
    from bench.environment import Place
    from bench.setting import Setting

CALLS = 100
THEIR_CALLS = 30
TIME_SCALE = 5.0
LEAST_SHARE = 0.9
MODES = {"sync": "in a loop", "threads": "from 8 threads", "gather": "in one asyncio.gather"}


def measure(setting: Setting) -> list[Row]:
    """One row per way of calling."""
    calls = 10 if setting.quick else CALLS
    rows: list[Row] = []
    for mode, words in MODES.items():
        wanted = (calls, min(calls, THEIR_CALLS))
        found = [_count(setting, p, mode, n) for p, n in zip(setting.each(), wanted)]
        refused, share, failed = found[0]
        lost = " and ".join(f"{one[2]} of {number}" for one, number in zip(found, wanted))
        rows.append(
            Row(
                f"{calls} paced calls {words}",
                *[
                    f"{r / n:.0%} refused, {s:.3f} of the rate"
                    for (r, s, _), n in zip(found, wanted)
                ],
                target=f"0 refused, >= {LEAST_SHARE}",
                met=refused == 0 and share >= LEAST_SHARE and not failed,
                notes=[f"calls that failed for good: {lost}."],
            )
        )
    rows[0].notes.append(
        f"the market's time runs {TIME_SCALE:g} times as fast and the pace with it, one call per "
        f"{1000 / TIME_SCALE:g} ms; counts by the marketplace, one run each; waits after a "
        f"refusal stay as they are, 1 s and more, so 0.1.1 makes {THEIR_CALLS} calls."
    )
    return rows


def _count(setting: Setting, place: Place, mode: str, calls: int) -> tuple[int, float, int]:
    """Refusals, share of the allowed rate, and calls that failed after all retries."""
    with setting.sandbox(time_scale=TIME_SCALE) as sandbox:
        answer = setting.ask(place, "pace", sandbox, mode, calls, 1 / TIME_SCALE)
        journal = sandbox.journal()
    passed = [entry.time for entry in journal if entry.status == 200]
    lasted = max(passed) - min(passed) if passed[1:] else 0.0
    share = (len(passed) - 1) / lasted if lasted else 0.0
    return sum(entry.status == 429 for entry in journal), share, answer["failed"]
