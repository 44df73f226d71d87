"""A process beside the marketplace that outlives it, should it be killed, and ends its rooms.

Promises: a marketplace that was killed leaves no process of an order behind, and its temporary
folder neither; the next one over the same folder begins when that is done. Not the kernel's
parent-death signal: it goes by threads, reaches no grandchild, and a room can switch it off.
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
    """Watches from now on. `keep`: the folder's files are for the next marketplace."""

    def __init__(self, folder: Path, *, state: str, keep: bool) -> None:
        self._lock = folder / _LOCK
        lock = os.open(self._lock, os.O_CREAT | os.O_RDWR, 0o600)
        reader, self._writer = os.pipe()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            words = [str(reader), state, str(folder), "keep" if keep else "remove"]
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                # By itself, without site-packages: it takes a sixth of the time.
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
            # The lock is the process's now, and is let go of when it has ended.
            os.close(reader)
            os.close(lock)

    async def end(self) -> None:
        """Watchdog no more."""
        with contextlib.suppress(OSError):  # somebody has killed it
            os.write(self._writer, b".")
        os.close(self._writer)
        await asyncio.to_thread(self._process.wait)
        self._lock.unlink(missing_ok=True)


def wait_for_watchdog(folder: Path) -> None:
    """Wait until the watch of a killed marketplace of this folder has done its work."""
    with contextlib.suppress(FileNotFoundError):
        lock = os.open(folder / _LOCK, os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        finally:
            os.close(lock)
