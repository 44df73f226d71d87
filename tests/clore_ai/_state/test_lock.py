"""A lock has one holder at a time and is freed when its holder dies."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from weakref import WeakValueDictionary

import pytest

from clore_ai._state.lock import FileLock, MemoryLock, locked, opened
from clore_ai.exceptions import ConfigError

HOLD = """
import sys
from pathlib import Path
from clore_ai._state.lock import locked, opened
path = Path(sys.argv[1])
print("begun", flush=True)
with opened(path) as file:
    locked(file, path)
    print("held", flush=True)
    sys.stdin.read()
"""


def holding(path: Path) -> subprocess.Popen[bytes]:
    """Start a process that takes the lock as soon as it is free."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    """Two contenders exclude each other, in one thread too; a freed lock can be taken."""
    one, two = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert one.try_acquire()
    assert not two.try_acquire()
    one.release()
    with opened(tmp_path / "lock") as file:
        locked(file, tmp_path / "lock")
        assert not two.try_acquire()
    assert two.try_acquire()
    two.release()
    assert one.try_acquire()
    one.release()
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def test_the_death_of_its_holder_frees_the_lock(tmp_path: Path) -> None:
    """A kill -9 frees the lock of another process at once."""
    path = tmp_path / "lock"
    with holding(path) as other:
        assert other.stdout is not None
        other.stdout.readline()
        other.stdout.readline()
        mine = FileLock(path)
        assert not mine.try_acquire()
        other.kill()
        with opened(path) as file:
            assert locked(file, path)


def test_a_wait_for_the_lock_can_be_interrupted(tmp_path: Path) -> None:
    """The wait ends at once, even if the holder never frees the lock."""
    path = tmp_path / "lock"
    mine = FileLock(path)
    assert mine.try_acquire()
    with holding(path) as other:
        assert other.stdout is not None
        other.stdout.readline()
        deadline = time.monotonic() + 20
        while " S " not in Path(f"/proc/{other.pid}/stat").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        other.send_signal(signal.SIGINT)
        assert other.wait(10) == -signal.SIGINT  # Python's exit code after a KeyboardInterrupt
        assert other.stdout.read() == b""
    mine.release()


def test_misuse(tmp_path: Path) -> None:
    """A lock cannot be taken twice, and its file is available only while it is held."""
    lock = FileLock(tmp_path / "lock")
    assert lock.try_acquire()
    with pytest.raises(ValueError, match="already held"):
        lock.try_acquire()
    lock.release()
    with pytest.raises(ValueError, match="not held"):
        _ = lock.file
    with pytest.raises(ConfigError, match="can't be opened"):
        FileLock(tmp_path / "no" / "lock").try_acquire()


def test_a_lock_in_memory_dies_with_its_object() -> None:
    """Like one in a file: nothing waits for a task that was stopped."""
    holders: WeakValueDictionary[str, MemoryLock] = WeakValueDictionary()
    mine, other = MemoryLock(holders, "a"), MemoryLock(holders, "a")
    assert mine.try_acquire()
    assert not other.try_acquire()
    del mine
    assert other.try_acquire()
