"""Random schedules of faults and stops: ``python -m tests.schedules --runs 2000``.

Prints how many ran and how many went wrong, with their seeds; exit 1 where one did.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from clore_ai import CloreAI
from clore_ai.cli import COMMANDS

from . import act
from .plan import draw
from .run import count, play_all
from .stage import market


def _prepare() -> None:
    """Import and read once what each forked child would: the certificates, all commands."""
    for module, _ in COMMANDS.values():
        import_module(f"clore_ai.cli.{module}")
    for module in ("anyio._backends._asyncio", "difflib", "rich.table"):
        import_module(module)
    CloreAI(base_url="http://127.0.0.1:1", api_key="x").close()
    gc.collect()
    gc.freeze()


def main() -> int:
    """Play, print, and say by the exit code whether all is well."""
    parser = argparse.ArgumentParser(prog="python -m tests.schedules", description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="the first; the others follow it")
    parser.add_argument("--at-once", type=int, default=24)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    act.scale()
    _prepare()
    started = time.monotonic()
    seeds = range(given.seed, given.seed + given.runs)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder, market(Path(folder)) as place:
        verdicts = play_all(seeds, place, Path(folder), given.at_once)
    wrong = sorted((v for v in verdicts if v.wrong), key=lambda v: v.seed)
    found = {
        "runs": len(verdicts),
        **count(verdicts),
        "orders": sum(v.orders for v in verdicts),
        "seconds": round(time.monotonic() - started, 1),
        "wrong": [{"seed": v.seed, "what": v.wrong} for v in wrong],
    }
    if given.json:
        print(json.dumps(found))
    else:
        for verdict in wrong:
            print(draw(verdict.seed), verdict.wrong, verdict.reports, sep="\n  ", file=sys.stderr)
        print(", ".join(f"{name}: {value}" for name, value in found.items() if name != "wrong"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
