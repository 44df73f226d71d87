"""A watchdog process, which ends the rooms if the marketplace is killed.

Promises: a killed marketplace leaves no process of an order and no temporary folder; the next one
with the same folder waits for that. The kernel's parent-death signal would not do: it depends on
threads, does not reach grandchildren, and a room can turn it off.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from clore_sandbox.provision import sweep

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Watchdog", "wait_for_watchdog"]

_LOCK = "watched"


class Watchdog:
    """Started with the first room. `keep`: the folder's files stay for the next run."""

    def __init__(self, folder: Path, *, state: str, keep: bool) -> None:
        self._lock = folder / _LOCK
        lock = os.open(self._lock, os.O_CREAT | os.O_RDWR, 0o600)
        reader, self._writer = os.pipe()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            words = [str(reader), state, str(folder), "keep" if keep else "remove"]
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                # As a plain file without site-packages, which takes a sixth of the time.
                [sys.executable, "-I", "-S", sweep.__file__, *words],
                pass_fds=(reader, lock),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        except BaseException:
            os.close(self._writer)
            raise
        finally:
            # The process holds the lock now, until it ends.
            os.close(reader)
            os.close(lock)

    async def end(self) -> None:
        """End the watchdog."""
        with contextlib.suppress(OSError):  # it was killed
            os.write(self._writer, b".")
        os.close(self._writer)
        await asyncio.to_thread(self._process.wait)
        self._lock.unlink(missing_ok=True)


def wait_for_watchdog(folder: Path) -> None:
    """Wait until the watchdog of a killed marketplace has cleaned this folder up."""
    with contextlib.suppress(FileNotFoundError):
        lock = os.open(folder / _LOCK, os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        finally:
            os.close(lock)
