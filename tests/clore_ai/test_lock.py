"""A lock that one holds at a time, and that dies with its holder."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from clore_ai._lock import FileLock
from clore_ai.exceptions import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import sys
from pathlib import Path
from clore_ai._lock import FileLock
with FileLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_holder(tmp_path: Path) -> None:
    """Two contenders exclude each other, in one thread too; what is freed can be taken."""
    one, two = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert one.try_acquire()
    assert not two.try_acquire()
    one.release()
    with two:
        assert not one.try_acquire()
        assert two.file >= 0
    assert one.try_acquire()
    one.release()
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def test_another_process_and_its_end(tmp_path: Path) -> None:
    """A kill -9 frees the lock at once."""
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        mine = FileLock(path)
        assert not mine.try_acquire()
        other.kill()
        mine.acquire()
        mine.release()


def test_misuse(tmp_path: Path) -> None:
    """A lock is not taken twice, nor its file asked for when it is not held."""
    lock = FileLock(tmp_path / "lock")
    with lock, pytest.raises(ValueError, match="held already"):
        lock.acquire()
    with pytest.raises(ValueError, match="not held"):
        _ = lock.file
    with pytest.raises(ConfigError, match="can't be opened"):
        FileLock(tmp_path / "no" / "lock").acquire()
