"""A simulated week of the living market: `python -m bench.sandbox_week`.

500 servers and 100 renters are to take at most 30 s, and the books are to balance.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from statistics import median

from clore_sandbox.alive.week import Week, simulate

MOST_SECONDS = 30


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--json", action="store_true")
    asked = options.parse_args()
    weeks: list[Week] = [simulate(seed=seed) for seed in range(asked.runs)]
    seconds = median(week.seconds for week in weeks)
    balanced = all(week.balanced for week in weeks)
    if asked.json:
        print(json.dumps({"seconds": seconds, "weeks": [asdict(week) for week in weeks]}))
    else:
        acts = sum(sum(week.count.values()) for week in weeks) // len(weeks)
        print(
            f"a simulated week, 500 servers, 100 renters: {seconds:.1f} s (reach: {MOST_SECONDS}),"
            f" {acts} acts, books {'balanced' if balanced else 'NOT balanced'}"
        )
    return int(not balanced or seconds > MOST_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
