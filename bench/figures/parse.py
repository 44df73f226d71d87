"""Parsing a `marketplace` body into validated models, in-process, in both environments."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from bench.pairs import Timed, in_turn
from bench.report import Row, timed
from bench.worker import Worker, worker

if TYPE_CHECKING:
    from bench.setting import Setting

RATIO_AT_MOST = 0.65
RATIO_AT_MOST_GPU = 0.4


def measure(setting: Setting) -> list[Row]:
    """Measure all servers, rented ones too, and then the free ones with an RTX 4090."""
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        sides = [
            stack.enter_context(worker(place, "parse", setting.environ(), setting.body))
            for place in setting.each()
        ]
        for wish, what, target in (
            ("all", f"{setting.servers:,} servers to models", RATIO_AT_MOST),
            ("gpu", '  with gpu="RTX 4090"', RATIO_AT_MOST_GPU),
        ):
            runs = [_timed(side, wish) for side in sides]
            pairs = in_turn(runs[0], runs[1] if runs[1:] else None, setting.runs)
            counts = " and ".join(f"{side.ask(wish)[1]:,}" for side in sides[: 2 if pairs.b else 1])
            note = f"servers found: {counts}; json, filters and prices included on both sides."
            rows.append(timed(what, pairs, ratio_at_most=target, notes=[note]))
    return rows


def _timed(side: Worker, wish: str) -> Timed:
    """Seconds as measured by that environment's interpreter."""

    def run() -> float:
        seconds: float = side.ask(wish)[0]
        return seconds

    return run
