"""The row of a figure, and how rows are printed."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from bench.setting import FLEET_OF_TARGETS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.pairs import Pairs
    from bench.setting import Setting

COLUMNS = ("what", "ours", "0.1.1", "ratio", "target", "met", "runs")
_WIDTHS = (55, 26, 26, 20, 22, 3, 4)


@dataclass(frozen=True)
class Row:
    """A figure: its cells as printed, whether it meets its target (None: no target), and notes.

    `runs` is the number of runs, or pairs of runs, of which a cell is the median; None: a count.
    `figure` is its name, as `--only` takes it.
    """

    what: str
    ours: str
    theirs: str = "-"
    ratio: str = "-"
    target: str = "-"
    met: bool | None = None
    notes: list[str] = field(default_factory=list[str])
    runs: int | None = None
    figure: str = ""


def timed(
    what: str,
    pairs: Pairs,
    *,
    ratio_at_most: float | None = None,
    ours_at_most_s: float | None = None,
    notes: list[str] | None = None,
) -> Row:
    """A row of medians and their ratio, each with its range."""
    met, target = None, "-"
    if ratio_at_most is not None:
        target = f"ratio <= {ratio_at_most}"
        met = None if pairs.ratio is None else pairs.ratio <= ratio_at_most
    elif ours_at_most_s is not None:
        target = f"<= {ours_at_most_s} s"
        met = median(pairs.a) <= ours_at_most_s
    ratios = [a / b for a, b in zip(pairs.a, pairs.b)]
    return Row(
        what,
        milliseconds(pairs.a),
        milliseconds(pairs.b) if pairs.b else "fails" if pairs.failure else "-",
        f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})" if ratios else "-",
        target,
        met,
        (notes or []) + ([f"0.1.1 fails: {pairs.failure}"] if pairs.failure else []),
        len(pairs.a),
    )


def milliseconds(seconds: list[float]) -> str:
    """Median (least-most), in ms."""
    least, middle, most = (1000 * f(seconds) for f in (min, median, max))
    digits = 1 if middle < 100 else 0
    return f"{middle:.{digits}f} ms ({least:.{digits}f}-{most:.{digits}f})"


def rates(per_second: list[float], unit: str) -> str:
    """Median (least-most), in whole units."""
    least, middle, most = (f(per_second) for f in (min, median, max))
    return f"{middle:,.0f} {unit} ({least:,.0f}-{most:,.0f})"


def not_run(what: str, why: Exception | str, target: str = "-") -> Row:
    """A figure that can't be measured on this machine; no estimate replaces it."""
    return Row(what, "not run", target=target, notes=[f"not run: {why}."])


def failed(name: str, why: Exception) -> Row:
    """A figure that failed: its target counts as missed."""
    reason = " ".join(str(why).split())[-300:]
    return Row(name, "failed", met=False, notes=[f"failed: {type(why).__name__}: {reason}"])


def head() -> str:
    """The names of the columns, and a line below them."""
    return f"{_line(COLUMNS)}\n{_line(['-' * width for width in _WIDTHS])}"


def as_line(row: Row) -> str:
    """A row in columns, printed as soon as it is measured; a long cell moves the next ones."""
    met = {True: "yes", False: "NO", None: "-"}[row.met]
    runs = "-" if row.runs is None else str(row.runs)
    return _line((row.what, row.ours, row.theirs, row.ratio, row.target, met, runs))


def _line(cells: Sequence[str]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS)).rstrip()


def remarks(setting: Setting, rows: list[Row]) -> str:
    """The conditions of all figures, then the notes of each."""
    notes = [f"- {row.what.strip()}: {note}" for row in rows for note in row.notes]
    return "\n".join([*(f"- {line}" for line in conditions(setting)), *notes])


def as_json(setting: Setting, rows: list[Row]) -> str:
    """The report as JSON."""
    return json.dumps(
        {"conditions": conditions(setting), "rows": [asdict(row) for row in rows]}, indent=2
    )


def conditions(setting: Setting) -> list[str]:
    """The conditions that all figures share."""
    python = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    fleet = "CLORE_INVENTORY"
    if setting.captured is None:
        fleet = "the sample, for want of CLORE_INVENTORY"
    lines = [
        f"Medians (min-max) of {setting.runs} runs, or {setting.long_runs} long ones, in turn.",
        "Ratios are taken pair by pair, then the median.",
        f"{python}; both with the same httpx, pydantic, click and rich, each in a plain venv.",
        f"A fleet of {setting.servers:,} servers ({fleet}).",
    ]
    if setting.busy is not None:
        cores = os.cpu_count()
        lines.append(f"Of {cores} cores, {setting.busy:.0%} was in others' use as it began.")
    if setting.servers != FLEET_OF_TARGETS:
        lines.append(f"The targets assume {FLEET_OF_TARGETS:,} servers: these say little of them.")
    if setting.quick:
        lines.append("A quick run, to see that it works: the figures mean nothing.")
    return lines
