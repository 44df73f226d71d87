"""`clore --help`, beside the start of a bare Python and of click."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from bench.pairs import Pairs, in_turn, process
from bench.report import Row, timed

if TYPE_CHECKING:
    from typing import Callable

    from bench.environment import Place
    from bench.setting import Setting

RATIO_AT_MOST = 0.25


def measure(setting: Setting) -> list[Row]:
    """Measure a bare Python, click alone, and the root help of both console scripts."""
    ours, theirs = setting.places.ours, setting.places.theirs
    env = setting.environ()

    def pairs(command: Callable[[Place], list[object]]) -> Pairs:
        first = process(command(ours), env)
        return in_turn(first, process(command(theirs), env) if theirs else None, setting.runs)

    bare = pairs(lambda place: [place.python, "-c", "pass"])
    click = pairs(lambda place: [place.python, "-c", "import click"])
    shown = pairs(lambda place: [place.clore, "--help"])
    one = median(bare.a)
    times = f"{median(shown.a) / one:.1f} times a bare Python"
    if shown.b:
        times += f"; 0.1.1 {median(shown.b) / one:.1f} times"
    times += f"; click alone {median(click.a) / one:.1f} times."
    return [
        timed("python -c pass", bare),
        timed("python -c 'import click'", click),
        timed("clore --help", shown, ratio_at_most=RATIO_AT_MOST, notes=[times]),
    ]
