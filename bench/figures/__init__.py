"""A module per figure: a function that measures and returns rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.figures import (
    fetch,
    gather,
    one_pace,
    pace,
    parse,
    rent,
    run,
    schedules,
    search,
    start,
    watch,
)
from bench.figures.market import listing, race, ready, rooms, spot, week

if TYPE_CHECKING:
    from typing import Callable

    from bench.report import Row
    from bench.setting import Setting

FIGURES: dict[str, Callable[[Setting], list[Row]]] = {
    "help": start.measure,
    "search": search.measure,
    "parse": parse.measure,
    "pace": pace.measure,
    "one_pace": one_pace.measure,
    "gather": gather.measure,
    "rent": rent.measure,
    "run": run.measure,
    "fetch": fetch.measure,
    "listing": listing.measure,
    "rooms": rooms.measure,
    "race": race.measure,
    "watch": watch.measure,
    "ready": ready.measure,
    "week": week.measure,
    "spot": spot.measure,
    "schedules": schedules.measure,
}
COUNTED = frozenset({"one_pace", "spot"})
"""They count and time nothing: while the processes of one wait, the other uses the cores."""
