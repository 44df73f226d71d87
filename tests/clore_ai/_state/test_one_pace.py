"""Many processes share one key against the strict marketplace, even if one of them is killed.

The marketplace counts refusals; its time is scaled, so that a second of its limit is a tenth of
one here. The processes keep half its rate: these tests check their order, not their speed, which
a busy machine can't promise (`make bench` measures it at the real pace).
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, Any, Callable

import programs
import pytest

from clore_ai import RateLimiter
from clore_ai._state.pace import Pace
from clore_ai._state.store import FILE, Store
from clore_sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIME_SCALE = 10.0
RATE = TIME_SCALE / 2

CALLS = """
import sys
from clore_ai import CloreAI
from clore_ai.exceptions import FieldError
url, key, folder, interval, name = sys.argv[1:]
client = CloreAI(key, url, max_retries=0, state=folder)
client.rate_limiter.min_interval = float(interval)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(6):
    try:
        client.server_config(name)
    except FieldError:  # there is none; the journal keeps who asked
        pass
"""

HOLD = """
import asyncio, sys
from pathlib import Path
from clore_ai import RateLimiter
from clore_ai._state.pace import Pace
from clore_ai._state.store import FILE, Store
home, what, rate = sys.argv[1:]
store = Store(Path(home))
limiter = RateLimiter.at_pace(float(rate), shared=Pace(store))

def hold(db):
    print("ready", flush=True)
    sys.stdin.readline()

async def reserve():
    waits = [asyncio.ensure_future(limiter.wait_async()) for _ in range(20)]
    await waits.pop(0)
    while limiter._shared._at is None:
        await asyncio.sleep(0.001)
    print("ready", flush=True)
    await asyncio.gather(*waits)

if what == "store":
    store.run(hold)
else:
    asyncio.run(reserve())
"""


@pytest.fixture
def strict() -> Iterator[Sandbox]:
    """A marketplace with the service's limits."""
    with Sandbox(provision=False, time_scale=TIME_SCALE) as sandbox:
        yield sandbox


def child(code: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """A child of ours, as a stopped process and a zombie must be."""
    words = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, **options)


def start(
    stack: ExitStack, begin: Callable[..., subprocess.Popen[str]], code: str, *arguments: object
) -> subprocess.Popen[str]:
    """Start a process and wait until it is ready."""
    process = stack.enter_context(begin(code, *arguments, stdin=subprocess.PIPE))
    stack.callback(process.kill)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_four_processes_are_never_refused(strict, tmp_path):
    """No call meets the rate limit; that processes take turns is tested in `test_pace`."""
    with ExitStack() as stack:
        common = (strict.base_url, strict.api_key, tmp_path / "home", 1 / RATE)
        processes = [start(stack, programs.start, CALLS, *common, name) for name in "abcd"]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        assert [process.wait(60) for process in processes] == [0] * 4
    journal = strict.journal("server_config")
    assert [entry.status for entry in journal] == [200] * 24


@pytest.mark.parametrize("what", ["store", "reserved"])
def test_a_killed_process_hardly_delays_the_others(tmp_path, what):
    """It is killed in a transaction, or with a time reserved and twenty threads waiting.

    It stays a zombie meanwhile: to the others it looks alive.
    """
    with ExitStack() as stack:
        other = start(stack, child, HOLD, tmp_path, what, 2)
        mine = RateLimiter.at_pace(2, shared=Pace(Store(tmp_path)))
        os.kill(other.pid, signal.SIGKILL)
        killed = time.monotonic()
        mine.wait()
        assert time.monotonic() - killed <= 0.54 * 2 + 2  # tolerance for a busy machine


def stop_between_transactions(process: subprocess.Popen[str], home: Path) -> None:
    """Stop the process; within a transaction it would block the others."""
    while True:
        os.kill(process.pid, signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        with closing(sqlite3.connect(home / FILE, timeout=0)) as db, suppress(sqlite3.Error):
            db.execute("BEGIN EXCLUSIVE")  # it holds no reader's lock either
            return
        os.kill(process.pid, signal.SIGCONT)


def test_a_stopped_process_delays_no_other_and_resumes(tmp_path):
    """Ctrl-Z in one terminal does not affect another; `fg` resumes the command."""
    with ExitStack() as stack:
        other = start(stack, child, HOLD, tmp_path, "reserved", 20)
        mine = RateLimiter.at_pace(20, shared=Pace(Store(tmp_path)))
        stop_between_transactions(other, tmp_path)
        for _ in range(5):
            mine.wait(within_s=10)
        os.kill(other.pid, signal.SIGCONT)
        assert other.wait(30) == 0
