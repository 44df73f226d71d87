"""Random schedules of `clore run`: ``python -m tests.run_schedules --runs 500``.

Prints how many ran and how many failed, with their seeds; exit 1 if any failed.
"""

from __future__ import annotations

import sys

from tests.schedules.report import Kind

from .run import VERDICTS, play_all, shown

if __name__ == "__main__":
    schedules = Kind("tests.run_schedules", VERDICTS, play_all, "lines", shown)
    sys.exit(schedules.main(runs=500, at_once=8))
