"""Random schedules of faults and stops: ``python -m tests.schedules --runs 2000``.

Prints how many ran and how many failed, with their seeds; exit 1 if any failed.
"""

from __future__ import annotations

import sys

from tests.support.running.forks import of_clore_first, warm

from . import act
from .report import Kind
from .run import VERDICTS, play_all, shown

if __name__ == "__main__":
    act.scale()
    warm(of_clore_first())  # for every process forked from here
    schedules = Kind("tests.schedules", VERDICTS, play_all, "orders", shown)
    sys.exit(schedules.main(runs=2000, at_once=24))
