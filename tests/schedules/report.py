"""The command line of both kinds of random schedules: plays them and reports what went wrong."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

from .stage import market

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .stage import Market

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Judged:
    """What was wrong with one schedule; empty if all is well."""

    seed: int
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Kind:
    """One kind of schedules: its module, the ways in which one can fail, and how to play them.

    `play` takes seeds, a marketplace, a folder in memory and the number to play at once. `total` is
    a number of each verdict that is added up. `shown` helps to see why one failed.
    """

    module: str
    verdicts: tuple[str, ...]
    play: Callable[[Sequence[int], Market, Path, int], Sequence[Judged]]
    total: str
    shown: Callable[[Any], object]

    def main(self, *, runs: int, at_once: int) -> int:
        """Play, print, and exit with 1 if anything was wrong."""
        parser = argparse.ArgumentParser(prog=f"python -m {self.module}")
        parser.add_argument("--runs", type=int, default=runs)
        parser.add_argument("--seed", type=int, default=0, help="the first; the others follow it")
        parser.add_argument("--at-once", type=int, default=at_once)
        parser.add_argument("--json", action="store_true")
        given = parser.parse_args()
        started = time.monotonic()
        seeds = range(given.seed, given.seed + given.runs)
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        with tempfile.TemporaryDirectory(dir=memory) as folder, market(Path(folder)) as place:
            at_once = min(given.at_once, given.runs)
            verdicts = self.play(seeds, place, Path(folder), at_once)
        wrong = sorted((v for v in verdicts if v.wrong), key=lambda v: v.seed)
        found = {
            "runs": len(verdicts),
            **self._count(wrong),
            self.total: sum(getattr(v, self.total) for v in verdicts),
            "seconds": round(time.monotonic() - started, 1),
            "wrong": [{"seed": v.seed, "what": v.wrong} for v in wrong],
        }
        if given.json:
            print(json.dumps(found))
        else:
            for verdict in wrong:
                print(verdict.seed, verdict.wrong, self.shown(verdict), sep="\n  ", file=sys.stderr)
            print(", ".join(f"{name}: {value}" for name, value in found.items() if name != "wrong"))
        return 1 if wrong else 0

    def _count(self, wrong: list[Judged]) -> dict[str, int]:
        """How many failed, and in which way."""
        return {
            kind: sum(any(w.startswith(kind) for w in v.wrong) for v in wrong)
            for kind in self.verdicts
        }


def found(module: str, *, runs: int, at_once: int, first: int = 0) -> dict[str, Any]:
    """The result of ``python -m MODULE --json`` for that many schedules, in its own process.

    Raises:
        RuntimeError: the process printed no result; the message has its stderr.
    """
    words = ["--runs", str(runs), "--seed", str(first), "--at-once", str(at_once), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    if not done.stdout:
        raise RuntimeError(done.stderr.strip()[-2000:])
    said: dict[str, Any] = json.loads(done.stdout)
    return said
