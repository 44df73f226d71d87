"""A few hundred Ctrl-C at random moments around a lock: each ends at once and leaves the lock free.

``python -m tests.interrupts --rounds 20000`` plays more.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import programs
import pytest

from .__main__ import shoot
from .uses import KINDS

ROUNDS = {"ledger": 20, "program": 8, "request": 15}
USES = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.interrupts.uses import main
main()
"""


@pytest.mark.parametrize("kind", KINDS)
def test_ctrl_c_leaves_nothing_held_or_half_done(kind: str, tmp_path: Path) -> None:
    """While the interrupt is still being handled, the resource can be used again."""
    rounds = ROUNDS.get(kind, 40)
    start = partial(programs.start, USES, text=False)
    assert shoot(kind, tmp_path, rounds, seed=0, start=start) == (rounds, "")
