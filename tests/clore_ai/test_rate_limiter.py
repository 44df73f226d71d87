"""One pace for threads, tasks and processes (004, Rate Limiter); whose turn it is: test_pace."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from clore_ai import RateLimiter
from clore_ai._state.lock import FileLock
from clore_ai.exceptions import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["memory", "file"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Where the pace is kept."""
    return tmp_path / "pace" if request.param == "file" else None


def test_documented_names_and_defaults():
    """004: `requests_per_second`, `create_order_delay`, `min_interval`."""
    plain = RateLimiter()
    assert (plain.min_interval, plain.create_order_delay) == (1.0, 5.0)
    assert RateLimiter(requests_per_second=2, create_order_delay=7).min_interval == 0.5
    for bad in ({"requests_per_second": 0}, {"create_order_delay": -1}):
        with pytest.raises(ValueError, match="above 0"):
            RateLimiter(**bad)


def test_a_faster_pace_is_one_for_create_order_too():
    """Who may send more than the service's 1 a second has a marketplace that allows it."""
    assert RateLimiter.at_pace(100).create_order_delay == 0.05
    assert RateLimiter.at_pace(0.5).create_order_delay == 5.0


def test_threads_share_one_pace(shared):
    """`wait` blocks its own thread only, and each gets a time of its own."""
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
    """`wait_async` never blocks the loop; a hundred cancelled tasks hold up nobody."""
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


def test_a_turn_that_does_not_come_in_time(shared):
    """TimeoutError at once, since it is known, and the place is free again."""
    pace = RateLimiter(requests_per_second=1000, shared=shared)
    pace.wait()
    pace.set_backoff(60)
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"within 0\.1 s"):
        pace.wait(within_s=0.1)
    with pytest.raises(TimeoutError):
        asyncio.run(pace.wait_async(within_s=0.1))
    assert time.monotonic() - start < 30
    with pace._kept.open() as kept:
        assert kept.waiting == {}


def test_two_limiters_with_one_file_are_one(tmp_path):
    """A backoff after code 5 holds both, and so does what the other sent."""
    one, two = (RateLimiter(requests_per_second=1000, shared=tmp_path / "p") for _ in range(2))
    one.wait()
    one.set_backoff(0.4)
    start = time.monotonic()
    two.wait()
    assert time.monotonic() - start > 0.3
    assert (tmp_path / "p").stat().st_mode & 0o777 == 0o600


def test_a_damaged_file_is_begun_anew(tmp_path):
    """Cut off in the middle, or no text at all."""
    path = tmp_path / "p"
    for damage in (b'{"waiting": [[1, 2', b"\xff\xfe", b"[" * 100_000):
        path.write_bytes(damage)
        start = time.monotonic()
        RateLimiter(requests_per_second=10, shared=path).wait()
        assert time.monotonic() - start > 0.09  # as if one had gone just now
        assert path.read_bytes().startswith(b'{"waiting": []')


@pytest.mark.parametrize("what", ["a file for a folder", "a folder"])
def test_a_file_that_cannot_be_written_is_an_error(tmp_path, what):
    """Never unpaced in silence: one sentence that names CLORE_HOME."""
    (tmp_path / "file").touch()
    path = {
        "a file for a folder": tmp_path / "file" / "pace",
        "a folder": tmp_path,
    }[what]
    pace = RateLimiter(shared=path)
    for call in (pace.wait, pace.set_backoff):
        with pytest.raises(ConfigError, match=r"^\S+ can't be .*CLORE_HOME\.$"):
            call()
    pace.sent()  # what went out can't fail any more

    told: list[str] = []
    alone = RateLimiter(requests_per_second=10, shared=path)
    alone.alone = told.append
    start = time.monotonic()
    alone.wait()
    alone.wait()
    assert time.monotonic() - start > 0.19  # as if one had gone just before
    (why,) = told
    assert "CLORE_HOME" in why


def test_a_folder_is_made_and_one_that_is_there_left_alone(tmp_path):
    """0700 where it is ours."""
    tmp_path.chmod(0o755)
    RateLimiter(requests_per_second=100, shared=tmp_path / "home" / "shared" / "pace").wait()
    modes = [(tmp_path / path).stat().st_mode & 0o777 for path in (".", "home", "home/shared")]
    assert modes == [0o755, 0o700, 0o700]


FULL = """
import resource, sys
from pathlib import Path
from clore_ai import RateLimiter
from clore_ai.exceptions import ConfigError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    RateLimiter(shared=Path(sys.argv[1])).wait()
except ConfigError as exc:
    print(exc)
"""


@pytest.mark.parametrize("room", [0, 20])
def test_a_full_disk_is_an_error(tmp_path, room):
    """Also where a part of it still fits; what is left is begun anew."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "p"), str(room)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "can't be read or written" in done.stdout
    assert done.stdout.endswith("CLORE_HOME.\n")
    RateLimiter(requests_per_second=100, shared=tmp_path / "p").wait()


def test_the_lock_is_never_held_across_a_wait(tmp_path):
    """While one waits a minute, another can have it at once."""
    pace = RateLimiter(shared=tmp_path / "p")
    pace.set_backoff(60)
    thread = threading.Thread(target=lambda: _swallow(pace))
    thread.start()
    for _ in range(50):
        with FileLock(tmp_path / "p").held():
            pass
    thread.join()


def _swallow(pace: RateLimiter) -> None:
    with pytest.raises(TimeoutError):
        pace.wait(within_s=1)


def test_two_processes_wait_for_each_other(tmp_path):
    """In turn, by one clock: that of the machine."""
    code = (
        "import sys, time; from pathlib import Path; from clore_ai import RateLimiter\n"
        "pace = RateLimiter(20, shared=Path(sys.argv[1]))\n"
        "for _ in range(10):\n    pace.wait(); print(time.monotonic())\n"
    )
    args = [sys.executable, "-c", code, str(tmp_path / "p")]
    running = [subprocess.Popen(args, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    times = sorted(float(at) for one in running for at in one.communicate()[0].split())
    assert len(times) == 30
    assert times[-1] - times[0] >= 29 * 0.05
