"""The memory of a process and its descendants, as Linux counts it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class Memory:
    """Megabytes (10^6 bytes). PSS divides shared memory among processes; RSS repeats it."""

    pss_mb: float
    rss_mb: float
    processes: int


def of_tree(pid: int) -> Memory:
    """Memory of this process and its descendants."""
    tree = {pid} | descendants(pid)
    parts = [part for part in map(_of_one, tree) if part is not None]
    return Memory(sum(pss for pss, _ in parts), sum(rss for _, rss in parts), len(parts))


def descendants(pid: int) -> set[int]:
    """The processes that this one has started, and theirs."""
    children: dict[int, list[int]] = {}
    for place in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(place.name))
    found: set[int] = set()
    queue = [pid]
    while queue:
        below = children.get(queue.pop(), [])
        found.update(below)
        queue += below
    return found


def _of_one(pid: int) -> tuple[float, float] | None:
    """PSS and RSS; None if the process has ended meanwhile."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    kb = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:] if line.endswith("kB")}
    return kb.get("Pss", 0) * 1024 / 1e6, kb.get("Rss", 0) * 1024 / 1e6
