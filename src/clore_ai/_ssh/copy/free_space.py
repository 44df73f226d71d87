"""Is a disk of the machine full? `df` decides, not the error messages of programs. Pure."""

from __future__ import annotations

import re

LITTLE_KB = 64
"""A disk with less than this counts as full."""
_FREE_CELL = 3
_NUMBER = re.compile("[0-9]{1,18}")


def question(*places: str) -> str:
    """A line for the machine's shell; `places` are shell words."""
    return f"df -Pk {' '.join(places)} 2> /dev/null"


def least_free_kb(answer: bytes) -> int | None:
    """The free space of the fullest of these disks; None if the answer has none."""
    rows = [line.split() for line in answer.decode("utf-8", "replace").splitlines()]
    free = [row[_FREE_CELL] for row in rows if len(row) > _FREE_CELL]
    return min((int(cell) for cell in free if _NUMBER.fullmatch(cell)), default=None)
