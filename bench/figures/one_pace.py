"""Eight processes with one key at the service's pace, and the delay after a kill -9.

Counted by the marketplace, in real time. A refusal is a 429; the share is the rate of accepted
calls, from the first to the last, relative to one per second.
"""

from __future__ import annotations

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report import Row
from clore_ai import RateLimiter
from clore_ai._state.pace import Pace
from clore_ai._state.store import Store

if TYPE_CHECKING:
    from bench.setting import Setting
    from clore_sandbox import Sandbox

PROCESSES, CALLS = 8, 8
LEAST_SHARE = 0.9
MOST_DELAY_S = 2.0
KILLS_AT_ONCE = 5
WORKER = Path(__file__).parents[1] / "workers" / "one_pace.py"


def measure(setting: Setting) -> list[Row]:
    """Measure the processes, then the kill of one process of each kind."""
    return [_processes(setting), *(_killed(setting, what) for what in ("store", "reserved"))]


def _processes(setting: Setting) -> Row:
    processes, calls = (2, 3) if setting.quick else (PROCESSES, CALLS)
    with setting.sandbox() as sandbox, ExitStack() as stack:
        home = setting.folder / "pace"
        running = [_start(setting, stack, sandbox, home, calls) for _ in range(processes)]
        for process in running:
            print(file=process.stdin, flush=True)
        said = [process.communicate()[0] for process in running]
        journal = sandbox.journal()
    answers = [json.loads(line) for line in said]
    passed = [entry.time for entry in journal if entry.status == 200]
    refused = sum(entry.status == 429 for entry in journal)
    share = (len(passed) - 1) / (max(passed) - min(passed))
    longest_s = max(wait for answer in answers for wait in answer["waits"])
    failed = sum(answer["failed"] for answer in answers)
    return Row(
        f"{processes} processes with one key, {calls} calls each",
        f"{refused} refused, {share:.3f} of the rate, longest wait {longest_s:.1f} s",
        target=f"0 refused, >= {LEAST_SHARE}, <= {2 * processes} s",
        met=not refused and share >= LEAST_SHARE and longest_s <= 2 * processes and not failed,
        notes=[f"a fair share is one call in {processes} s; real time; failed for good: {failed}."],
    )


def _killed(setting: Setting, what: str) -> Row:
    """The extra wait of a call, beyond its pace, just after another process was killed."""

    def delay_s(run: int) -> float:
        home = setting.folder / f"{what}-{run}"
        with ExitStack() as stack:
            process = _start(setting, stack, sandbox, home, what)
            process.kill()
            start = time.monotonic()
            limiter = RateLimiter(shared=Pace(Store(home)))
            limiter.wait()
            return time.monotonic() - start - limiter.min_interval

    with setting.sandbox() as sandbox, ThreadPoolExecutor(KILLS_AT_ONCE) as pool:
        delays = list(pool.map(delay_s, range(setting.runs)))
    words = {"store": "in a transaction", "reserved": "with a time reserved, 20 waiting"}[what]
    return Row(
        f"another killed {words}",
        f"{max(delays):.2f} s later at most",
        target=f"<= {MOST_DELAY_S:g} s",
        met=max(delays) <= MOST_DELAY_S,
        notes=["beyond the 1 s between two calls; SIGKILL, not reaped."],
        runs=len(delays),
    )


def _start(
    setting: Setting, stack: ExitStack, sandbox: Sandbox, home: Path, what: object
) -> subprocess.Popen[str]:
    """A worker that has reported that it is ready."""
    process = stack.enter_context(
        subprocess.Popen(
            [str(setting.places.ours.python), str(WORKER), str(home), str(what)],
            env=setting.environ(sandbox),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    )
    stack.callback(process.kill)
    if process.stdout is None or process.stdout.readline() != "ready\n":
        raise RuntimeError(f"{WORKER.name} {what} did not start")
    return process
