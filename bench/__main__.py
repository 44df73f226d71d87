"""`python -m bench [--only NAME] [--runs N] [--json] [--quick]`."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from typing import TYPE_CHECKING

from bench import environment, report
from bench.figures import COUNTED, FIGURES
from bench.setting import MOST_LONG_RUNS, Setting

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

LEAST_RUNS = 10


def read(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=list(FIGURES), help="this figure; repeatable"
    )
    parser.add_argument(
        "--runs",
        type=int,
        default=LEAST_RUNS,
        help=f"pairs for each figure (default {LEAST_RUNS}); {MOST_LONG_RUNS} if they take long",
    )
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


def _all(names: list[str], setting: Setting) -> Iterator[list[report.Row]]:
    """The rows of each figure as soon as it is measured: first all that count, side by side."""
    with ThreadPoolExecutor() as pool:
        counts = [pool.submit(_measured, name, setting) for name in names if name in COUNTED]
        for count in as_completed(counts):
            yield count.result()
    for name in names:
        if name not in COUNTED:
            yield _measured(name, setting)


def _measured(name: str, setting: Setting) -> list[report.Row]:
    """The rows of a figure; if it fails, one row that reports the failure."""
    with _timed(name):
        try:
            rows = FIGURES[name](setting)
        except Exception as exc:  # noqa: BLE001 - the other figures are measured all the same
            rows = [report.failed(name, exc)]
    return [replace(row, figure=name) for row in rows]


@contextlib.contextmanager
def _timed(what: str) -> Generator[None]:
    """Print to stderr what begins, and how long it took."""
    print(f"{what} …", file=sys.stderr, flush=True)
    began = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)


def main() -> int:
    """Measure, print, and exit with 1 if a target is missed."""
    options = read()
    with _timed("set-up"):
        places = environment.here() if options.quick else environment.prepare()
    runs = 1 if options.quick else options.runs
    with _timed("all figures"), Setting(places, runs=runs, quick=options.quick) as setting:
        rows: list[report.Row] = []
        if not options.json:
            print(report.head(), flush=True)
        try:
            for measured in _all(options.only or list(FIGURES), setting):
                rows += measured
                if not options.json:
                    print(*map(report.as_line, measured), sep="\n", flush=True)
        finally:  # Ctrl-C keeps the rows measured so far
            said = report.as_json if options.json else report.remarks
            print(said(setting, rows))
    return int(not options.quick and any(row.met is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
