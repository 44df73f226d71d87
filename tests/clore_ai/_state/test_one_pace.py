"""Many processes with one key against the strict marketplace, and what a kill -9 does to the rest.

The marketplace counts refusals; its time is scaled, so that a second of its limit is a tenth of
one here. The processes keep half its rate: what is held to a rule here is order, not speed, which
a busy machine can't promise (`make bench` measures it at the real pace).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from clore_ai import RateLimiter
from clore_ai._state.kept import File
from clore_ai._state.turns import GRACE_S, PIECE_S, dump, load
from clore_sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

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
path, what, rate = sys.argv[1:]
limiter = RateLimiter.at_pace(float(rate), shared=Path(path))

async def reserve():
    waits = [asyncio.ensure_future(limiter.wait_async()) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    print("ready", flush=True)
    await asyncio.gather(*waits)

if what == "lock":
    with limiter._kept.open():
        print("ready", flush=True)
        sys.stdin.readline()
else:
    asyncio.run(reserve())
"""


@pytest.fixture
def strict() -> Iterator[Sandbox]:
    """With the service's limits."""
    with Sandbox(provision=False, time_scale=TIME_SCALE) as sandbox:
        yield sandbox


def start(stack: ExitStack, code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process that has said that it is ready."""
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    )
    stack.callback(process.kill)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_four_processes_are_never_refused_and_take_turns(strict, tmp_path):
    """Nobody is passed by another more than twice in a row."""
    with ExitStack() as stack:
        common = (strict.base_url, strict.api_key, tmp_path / "home", 1 / RATE)
        processes = [start(stack, CALLS, *common, name) for name in "abcd"]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        assert [process.wait(60) for process in processes] == [0] * 4
    journal = strict.journal("server_config")
    assert [entry.status for entry in journal] == [200] * 24
    served = "".join(str(entry.body["server_name"]) for entry in journal)
    for name in "abcd":
        waits = served.strip(name).split(name)
        assert all(wait.count(other) <= 2 for wait in waits[1:-1] for other in "abcd"), served


@pytest.mark.parametrize("what", ["lock", "places"])
def test_a_killed_process_delays_the_others_by_an_instant(tmp_path, what):
    """Killed with the lock in its hand, or with twenty places before everybody else's.

    Nobody buries it meanwhile: to the others it looks alive.
    """
    path = tmp_path / "pace"
    with ExitStack() as stack:
        other = start(stack, HOLD, path, what, 2)
        mine = RateLimiter.at_pace(2, shared=path)
        os.kill(other.pid, signal.SIGKILL)
        killed = time.monotonic()
        mine.wait()
        assert time.monotonic() - killed <= 0.54 + PIECE_S * 2 + GRACE_S + 1  # for a busy machine
    with File(path, lambda data: load(data, time.monotonic()), dump).open() as pace:
        assert pace.waiting == {}


def test_a_stopped_process_holds_up_nobody_and_goes_on(tmp_path):
    """Ctrl-Z in one terminal is not noticed in another; `fg` takes it up again."""
    path = tmp_path / "pace"
    with ExitStack() as stack:
        other = start(stack, HOLD, path, "places", 20)
        mine = RateLimiter.at_pace(20, shared=path)
        os.kill(other.pid, signal.SIGSTOP)
        for _ in range(5):
            mine.wait(within_s=10)
        os.kill(other.pid, signal.SIGCONT)
        assert other.wait(30) == 0
