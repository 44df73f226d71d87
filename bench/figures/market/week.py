"""A simulated week of the living market (`--alive`): 500 servers and 100 renters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bench.pairs import Pairs
from bench.report import Row, timed
from clore_sandbox.alive.simulation import Simulation, simulate

if TYPE_CHECKING:
    from bench.setting import Setting

AT_MOST_S = 30
SERVERS, RENTERS = 500, 100
# At most half a minute each; each seed gives a different market.
MOST_WEEKS = 3


def measure(setting: Setting) -> list[Row]:
    """Simulate a few weeks, each with its own seed; quick: a day of a tenth of the market."""
    days, share = (1, 10) if setting.quick else (7, 1)
    servers, renters = SERVERS // share, RENTERS // share
    weeks: list[Simulation] = [
        simulate(days=days, servers=servers, renters=renters, seed=seed)
        for seed in range(min(setting.runs, MOST_WEEKS))
    ]
    what = f"{days} simulated days, {servers} servers, {renters} renters"
    balanced = all(week.balanced for week in weeks)
    acts = sum(sum(week.count.values()) for week in weeks) // len(weeks)
    books = "balance" if balanced else "do NOT balance"
    notes = [f"the books {books}; {acts:,} acts a run, each run has its own seed."]
    seconds = Pairs([week.seconds for week in weeks], [])
    row = timed(what, seconds, ours_at_most_s=AT_MOST_S, notes=notes)
    return [replace(row, target=f"{row.target}, books balance", met=row.met and balanced)]
