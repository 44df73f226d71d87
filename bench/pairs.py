"""Times two things alternately, A B A B …, and compares them pair by pair."""

from __future__ import annotations

import os
import pty
import subprocess
import threading
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Callable

from bench.setting import MOST_LONG_RUNS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Timed = Callable[[], float]
"""Runs once and returns the seconds."""


@dataclass(frozen=True)
class Pairs:
    """Seconds of each run; `b` is empty if there was nothing to compare, or it failed."""

    a: list[float]
    b: list[float]
    failure: str | None = None
    """Why `b` failed."""

    @property
    def ratio(self) -> float | None:
        """The median of A/B, pair by pair."""
        return median(x / y for x, y in zip(self.a, self.b)) if self.b else None


def in_turn(a: Timed, b: Timed | None, runs: int) -> Pairs:
    """Time `runs` pairs, after a warm-up of each; if `b` fails in it, only `a`.

    A long one has no warm-up: its first run is cold, and the median leaves that out.
    """
    failure = None
    try:
        if runs > MOST_LONG_RUNS:
            a()
            if b is not None:
                b()
    except RuntimeError as exc:
        b, failure = None, " ".join(str(exc).split())[-200:]
    found = Pairs([], [], failure)
    for _ in range(runs):
        found.a.append(a())
        if b is not None:
            found.b.append(b())
    return found


def process(command: Sequence[object], env: Mapping[str, str], *, rc: int = 0) -> Timed:
    """Time a whole process, from its start to its exit, with its output read through a pipe.

    Raises (when run):
        RuntimeError: the exit code is not `rc`; carries the output.
    """
    words = [str(word) for word in command]

    def run() -> float:
        start = time.perf_counter()
        done = subprocess.run(words, env=env, capture_output=True, check=False)
        took = time.perf_counter() - start
        if done.returncode != rc:
            said = (done.stdout + done.stderr).decode("utf-8", "replace")[-300:]
            raise RuntimeError(f"{' '.join(words)} exited with {done.returncode}: {said}")
        return took

    return run


def terminal(command: Sequence[object], env: Mapping[str, str]) -> Timed:
    """As `process`, but the output goes to a terminal of its own.

    Raises (when run):
        RuntimeError: the exit code is not 0.
    """
    words = [str(word) for word in command]

    def run() -> float:
        ours, theirs = pty.openpty()
        reader = threading.Thread(target=_drain, args=(ours,))
        reader.start()
        start = time.perf_counter()
        done = subprocess.run(words, env={**env, "TERM": "xterm", "COLUMNS": "150"},
                              stdout=theirs, stderr=theirs, check=False)  # fmt: skip
        took = time.perf_counter() - start
        os.close(theirs)
        reader.join()
        os.close(ours)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)} exited with {done.returncode} on a terminal")
        return took

    return run


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 65536):
            pass
    except OSError:
        pass  # Linux's error if the other side is closed
