"""Is a disk of the machine full? Asked of it, since no program's words decide anything. Pure."""

from __future__ import annotations

import re

LITTLE_KB = 64
"""With less than this a disk is full."""
_FREE_CELL = 3
_NUMBER = re.compile("[0-9]{1,18}")


def question(*places: str) -> str:
    """A line for the shell there; `places`: words of the shell."""
    return f"df -Pk {' '.join(places)} 2> /dev/null"


def least_free_kb(answer: bytes) -> int | None:
    """What the fullest of these disks has left; None if it does not say."""
    rows = [line.split() for line in answer.decode("utf-8", "replace").splitlines()]
    free = [row[_FREE_CELL] for row in rows if len(row) > _FREE_CELL]
    return min((int(cell) for cell in free if _NUMBER.fullmatch(cell)), default=None)
