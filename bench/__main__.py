"""`python -m bench [--only NAME] [--runs N] [--json] [--quick]`."""

from __future__ import annotations

import argparse
import sys

from bench import environment, report
from bench.figures import FIGURES
from bench.setting import Setting

LEAST_RUNS = 10


def read(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=list(FIGURES), help="this figure; repeatable"
    )
    parser.add_argument("--runs", type=int, default=15, help="pairs for each figure (default 15)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="smoke test: 1 run, this environment's clore, no 0.1.1; the figures mean nothing",
    )
    options = parser.parse_args(arguments)
    if options.runs < LEAST_RUNS:
        parser.error(f"--runs {options.runs}: medians of fewer than {LEAST_RUNS} say little")
    return options


def _measured(name: str, setting: Setting) -> list[report.Row]:
    """The rows of a figure; if it fails, one row that reports the failure."""
    try:
        return FIGURES[name](setting)
    except Exception as exc:  # noqa: BLE001 - the other figures are measured all the same
        return [report.failed(name, exc)]


def main() -> int:
    """Measure, print, and exit with 1 if a target is missed."""
    options = read()
    places = environment.here() if options.quick else environment.prepare()
    with Setting(places, runs=1 if options.quick else options.runs, quick=options.quick) as setting:
        rows: list[report.Row] = []
        if not options.json:
            print(report.head(), flush=True)
        try:
            for name in options.only or FIGURES:
                print(f"{name} …", file=sys.stderr, flush=True)
                rows += (measured := _measured(name, setting))
                if not options.json:
                    print(*map(report.as_line, measured), sep="\n", flush=True)
        finally:  # Ctrl-C keeps the rows measured so far
            said = report.as_json if options.json else report.remarks
            print(said(setting, rows))
    return int(not options.quick and any(row.met is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
