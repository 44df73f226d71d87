"""The CPU seconds that processes have used so far, as Linux counts them (in ticks of 10 ms)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from bench.memory import descendants

_TICKS = os.sysconf("SC_CLK_TCK")


def of_one(pid: int) -> float:
    """CPU seconds of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def of_tree(pid: int) -> float:
    """CPU seconds of a process and its running descendants."""
    seconds = 0.0
    for each in {pid} | descendants(pid):
        with contextlib.suppress(OSError):  # the process has ended meanwhile
            seconds += of_one(each)
    return seconds
