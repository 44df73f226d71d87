"""Threads, tasks and processes share one pace (004, Rate Limiter). Its arithmetic: `test_pace`."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import programs
import pytest

from clore_ai import RateLimiter
from clore_ai._state.pace import Pace
from clore_ai._state.store import FILE, Store
from clore_ai.exceptions import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["memory", "file"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Pace | None:
    """The store of the pace."""
    return Pace(Store(tmp_path)) if request.param == "file" else None


def test_documented_names_and_defaults():
    """004 names `requests_per_second`, `create_order_delay` and `min_interval`."""
    plain = RateLimiter()
    assert (plain.min_interval, plain.create_order_delay) == (1.0, 5.0)
    assert RateLimiter(requests_per_second=2, create_order_delay=7).min_interval == 0.5
    for bad in ({"requests_per_second": 0}, {"create_order_delay": -1}):
        with pytest.raises(ValueError, match="above 0"):
            RateLimiter(**bad)


def test_a_faster_pace_applies_to_create_order_too():
    """A pace above the service's 1 a second means that the marketplace allows it."""
    assert RateLimiter.at_pace(100).create_order_delay == 0.05
    assert RateLimiter.at_pace(0.5).create_order_delay == 5.0


def test_threads_share_one_pace(shared):
    """`wait` blocks its own thread only, and each thread gets its own time."""
    pace = RateLimiter(requests_per_second=50, shared=shared)
    went: list[float] = []

    def one() -> None:
        pace.wait()
        went.append(time.monotonic())

    threads = [threading.Thread(target=one) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(went) - min(went) >= 19 * 0.02 * 0.9


def test_tasks_share_one_pace_and_cancelled_ones_leave_it(shared):
    """`wait_async` never blocks the loop; a hundred cancelled tasks delay no other."""
    pace = RateLimiter(requests_per_second=1, shared=shared)

    async def main() -> float:
        await pace.wait_async()
        tasks = [asyncio.ensure_future(pace.wait_async()) for _ in range(100)]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        start = time.monotonic()
        await pace.wait_async()
        return time.monotonic() - start

    assert asyncio.run(main()) <= 10


def test_a_turn_after_the_timeout_is_refused_at_once(shared):
    """TimeoutError is raised without waiting, and the place is free again."""
    pace = RateLimiter(requests_per_second=500, shared=shared)
    pace.wait()
    pace.set_backoff(60)
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"within 0\.1 s"):
        pace.wait(within_s=0.1)
    with pytest.raises(TimeoutError):
        asyncio.run(pace.wait_async(within_s=0.1))
    assert time.monotonic() - start < 30


def test_two_limiters_share_one_store(tmp_path):
    """Both respect a backoff after code 5, and each other's requests."""
    one, two = (RateLimiter(500, shared=Pace(Store(tmp_path))) for _ in range(2))
    one.wait()
    one.set_backoff(0.4)
    start = time.monotonic()
    two.wait()
    assert time.monotonic() - start > 0.3


def test_a_pace_without_limits_is_kept_in_memory(tmp_path):
    """A marketplace without limits is not slowed down, and no file is created for it."""
    RateLimiter.at_pace(100_000, shared=Pace(Store(tmp_path / "home"))).wait()
    assert not (tmp_path / "home").exists()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    """Requests are never sent unpaced: one sentence names CLORE_HOME."""
    (tmp_path / "file").touch()
    shared = Pace(Store(tmp_path / "file"))
    pace = RateLimiter(shared=shared)
    for call in (pace.wait, pace.set_backoff):
        with pytest.raises(ConfigError, match=r"can't be used .*CLORE_HOME"):
            call()
    pace.sent()  # a request that was sent cannot fail any more

    messages: list[str] = []
    alone = RateLimiter(requests_per_second=10, shared=shared)
    alone.alone = messages.append
    start = time.monotonic()
    alone.wait()
    alone.wait()
    assert time.monotonic() - start > 0.19  # as if a request had just been sent
    (why,) = messages
    assert "CLORE_HOME" in why


FULL = """
import resource, sys
from pathlib import Path
from clore_ai import RateLimiter
from clore_ai._state.pace import Pace
from clore_ai._state.store import Store
from clore_ai.exceptions import ConfigError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    RateLimiter(shared=Pace(Store(Path(sys.argv[1])))).wait()
except ConfigError as exc:
    print(exc)
"""


@pytest.mark.parametrize("room", [0, 20_000])
def test_a_full_disk_is_an_error(tmp_path, room):
    """This includes a disk on which a part still fits; the next write starts afresh."""
    out, _ = programs.start(FULL, tmp_path / "home", room).communicate(timeout=60)
    assert "can't be written" in out
    assert out.endswith("move CLORE_HOME to another disk.\n")
    RateLimiter(100, shared=Pace(Store(tmp_path / "home"))).wait()


def test_the_loop_keeps_running_while_another_holds_the_store(tmp_path):
    """`wait_async` waits for the store in a thread."""
    pace = RateLimiter(500, shared=Pace(Store(tmp_path)))
    pace.wait()

    async def main() -> None:
        with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            waits = asyncio.ensure_future(pace.wait_async())
            for _ in range(5):
                await asyncio.sleep(0.01)
            assert not waits.done()
            other.execute("ROLLBACK")
            await waits

    asyncio.run(main())


def test_the_store_is_free_during_a_wait(tmp_path):
    """While one caller waits a minute, another can use the store at once."""
    pace = RateLimiter(shared=Pace(Store(tmp_path)))
    pace.set_backoff(60)
    thread = threading.Thread(target=lambda: _swallow(pace))
    thread.start()
    other = Store(tmp_path)
    for _ in range(50):
        other.run(lambda _: None)
    thread.join()


def _swallow(pace: RateLimiter) -> None:
    with pytest.raises(TimeoutError):
        pace.wait(within_s=1)


def test_two_processes_take_turns(tmp_path):
    """Both use the machine's clock."""
    code = (
        "import sys, time; from pathlib import Path; from clore_ai import RateLimiter\n"
        "from clore_ai._state.pace import Pace; from clore_ai._state.store import Store\n"
        "pace = RateLimiter(20, shared=Pace(Store(Path(sys.argv[1]))))\n"
        "for _ in range(10):\n    pace.wait(); print(time.monotonic())\n"
    )
    running = [programs.start(code, tmp_path) for _ in range(3)]
    times = sorted(float(at) for one in running for at in one.communicate()[0].split())
    assert len(times) == 30
    assert times[-1] - times[0] >= 29 * 0.05
