"""Hundreds of Ctrl-C at random moments around a lock: each ends at once and leaves the lock free.

``python -m tests.interrupts --rounds 20000`` plays more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .__main__ import shoot
from .uses import KINDS

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = {"ledger": 40, "program": 10, "request": 40}


@pytest.mark.parametrize("kind", KINDS)
def test_ctrl_c_leaves_nothing_held_or_half_done(kind: str, tmp_path: Path) -> None:
    """While the interrupt is still being handled, the resource can be used again."""
    rounds = ROUNDS.get(kind, 100)
    assert shoot(kind, tmp_path, rounds, seed=0) == (rounds, "")
