"""Random schedules of `clore run`: ``python -m tests.run_schedules --runs 500``.

Prints how many ran and how many went wrong, with their seeds; exit 1 where one did.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from forks import Forks  # noqa: E402 - found by the line above

from clore_ai.cli import COMMANDS  # noqa: E402 - likewise
from tests.schedules.stage import market  # noqa: E402 - likewise

from .plan import draw  # noqa: E402 - likewise
from .run import count, play_all  # noqa: E402 - likewise


def _forks() -> Forks:
    commands = (f"clore_ai.cli.{module}" for module, _ in COMMANDS.values())
    later = ("anyio._backends._asyncio", "clore_ai.client", "httpcore", "clore_ai.jobs.look")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = (*commands, *later, "clore_ai._drive:_tls")
    return Forks("tests.run_schedules.act:main", words, (), env)


def main() -> int:
    """Play, print, and say by the exit code whether all is well."""
    parser = argparse.ArgumentParser(prog="python -m tests.run_schedules", description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0, help="the first; the others follow it")
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    started = time.monotonic()
    seeds = range(given.seed, given.seed + given.runs)
    at_once = min(given.at_once, given.runs)
    with tempfile.TemporaryDirectory() as folder, market(Path(folder)) as place:
        forks = [_forks() for _ in range(at_once)]
        verdicts = play_all(seeds, place, Path(folder), at_once, forks)
        for each in forks:
            each.close()
    wrong = sorted((v for v in verdicts if v.wrong), key=lambda v: v.seed)
    found = {
        "runs": len(verdicts),
        **count(verdicts),
        "lines": sum(v.lines for v in verdicts),
        "seconds": round(time.monotonic() - started, 1),
        "wrong": [{"seed": v.seed, "what": v.wrong} for v in wrong],
    }
    if given.json:
        print(json.dumps(found))
    else:
        for v in wrong:
            print(draw(v.seed), v.wrong, v.err[-1500:], sep="\n  ", file=sys.stderr)
        print(", ".join(f"{name}: {value}" for name, value in found.items() if name != "wrong"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
