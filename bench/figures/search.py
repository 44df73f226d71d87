"""`clore search --gpu 4090`, whole process, against a local marketplace without limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.pairs import Pairs, Timed, in_turn, process, terminal
from bench.report import Row, timed

if TYPE_CHECKING:
    from pathlib import Path

    from bench.environment import Place
    from bench.setting import Setting

RATIO_AT_MOST = 0.75
WORDS = ("search", "--gpu", "4090")

# 0.1.1 has a fixed address. This runs its own `main` in its own environment with another.
LAUNCHER = """\
import os
from clore_ai.cli import CloreAI, main
CloreAI.BASE_URL = os.environ["CLORE_BASE_URL"]
main()
"""

LAUNCHED = (
    "0.1.1's address is fixed in its source, so a launcher of three lines sets CloreAI.BASE_URL "
    "and calls its main(). Both columns here are 0.1.1's: near 1, it costs nothing."
)


def measure(setting: Setting) -> list[Row]:
    """Measure into a pipe, as the target requires; on a terminal; and 0.1.1's launcher alone."""
    launcher = setting.folder / "launch-0.1.1.py"
    launcher.write_text(LAUNCHER, "utf-8")
    with setting.sandbox(limits=False) as sandbox:
        # Also without the pace, which all commands of a state folder share.
        env = {**setting.environ(sandbox), "CLORE_REQUESTS_PER_SECOND": "1000000"}
        ours = [setting.places.ours.clore, *WORDS]
        theirs = _launched(setting.places.theirs, launcher)
        piped = in_turn(
            process(ours, env), process([*theirs, *WORDS], env) if theirs else None, setting.runs
        )
        drawn = in_turn(
            terminal(ours, env), terminal([*theirs, *WORDS], env) if theirs else None, setting.runs
        )
    rows: list[Row] = [
        timed("clore search --gpu 4090", piped, ratio_at_most=RATIO_AT_MOST),
        timed("  the same on a terminal", drawn),
    ]
    if setting.places.theirs is not None:
        scripts = _scripts(setting.places.theirs, launcher, setting)
        rows.append(
            timed(
                "  0.1.1 --help: console script / launcher",
                scripts,
                notes=[LAUNCHED],
            )
        )
    return rows


def _launched(place: Place | None, launcher: Path) -> list[object]:
    return [place.python, launcher] if place else []


def _scripts(place: Place, launcher: Path, setting: Setting) -> Pairs:
    env = setting.environ(CLORE_BASE_URL="http://127.0.0.1:9/v1")
    own: Timed = process([place.clore, "--help"], env)
    return in_turn(own, process([place.python, launcher, "--help"], env), setting.runs)
