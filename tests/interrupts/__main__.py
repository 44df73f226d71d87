"""Ctrl-C at random moments of taking locks: ``python -m tests.interrupts --rounds 20000``.

Prints for each kind the number of rounds, and how many left a lock held, work half done or a
process hanging; exit 1 if any did.
"""

from __future__ import annotations

import argparse
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable

from .uses import KINDS

HANGS_AFTER_S = 15.0
_LONGEST_S = {
    "program": 0.004, "request": 0.015, "file": 0.003, "open": 0.006, "pace": 0.003,
    "loop": 0.003, "ledger": 0.006,
}  # fmt: skip
"""The approximate length of one use, from its start."""


def _start(*words: object) -> subprocess.Popen[bytes]:
    """Start the process to interrupt."""
    command = [sys.executable, "-m", "tests.interrupts.uses", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def shoot(
    kind: str,
    folder: Path,
    rounds: int,
    seed: int,
    start: Callable[..., subprocess.Popen[bytes]] = _start,
) -> tuple[int, str]:
    """The number of rounds played, and what was wrong with the last one; empty if all is well."""
    dice = random.Random(seed)
    with start(kind, folder, rounds) as process:
        assert process.stdout is not None
        out = process.stdout.fileno()

        def said() -> str:
            if not select.select([out], [], [], HANGS_AFTER_S)[0]:
                return "hangs"
            return {b".": "", b"+": "", b"-": "left something held or half done"}.get(
                os.read(out, 1), "ended"
            )

        try:
            for number in range(rounds):
                if wrong := said():
                    return number, wrong
                _pause(dice.random() * _LONGEST_S.get(kind, 0.0006))
                process.send_signal(signal.SIGINT)
                if wrong := said():
                    return number + 1, wrong
            return rounds, "" if process.wait(HANGS_AFTER_S) == 0 else "ended badly"
        finally:
            process.kill()


def _pause(seconds: float) -> None:
    """Wait to the microsecond: a sleep takes at least 50."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def main() -> int:
    """Shoot, print the results, and exit with 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.interrupts", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("kinds", nargs="*", default=list(KINDS), metavar="KIND")
    given = parser.parse_args()
    worst = 0
    for kind in given.kinds:
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            played, wrong = shoot(kind, Path(folder), given.rounds, given.seed)
            print(
                f"{kind}: {played} rounds, {wrong or 'all well'}, {time.monotonic() - began:.1f} s"
            )
            worst |= bool(wrong)
    return worst


if __name__ == "__main__":
    sys.exit(main())
