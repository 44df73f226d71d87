"""Locks among processes, on files of the state folder. It may do no network I/O.

The system frees such a lock when its holder ends, however that ends: after a kill -9 nobody waits.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import contextmanager
from io import FileIO
from typing import TYPE_CHECKING

from clore_ai._interrupts import deferred, waiting
from clore_ai._state.folder import regular
from clore_ai.exceptions import ConfigError

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator
    from pathlib import Path

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)  # a pipe holds nobody up
_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


class FileLock:
    """One holder at a time among all processes, threads and tasks of this machine.

    Each object is a contender of its own: two of one path exclude each other in one thread too.
    The file stays where it is; removing it would let two hold the lock. Ctrl-C at any moment leaves
    it free: at once where it was being taken, waited for, freed or `held`, else when the object is
    no longer in use.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # An object, not its number: it closes itself when nobody has it any more.
        self._file: FileIO | None = None

    def try_acquire(self) -> bool:
        """Take the lock if it is free; never waits.

        Raises:
            ConfigError: the file can't be opened, or its file system has no locks.
        """
        return self._take(wait=False)

    @contextmanager
    def held(self) -> Generator[int]:
        """The open file's descriptor, once the lock is free: for an instant's work.

        Ctrl-C takes effect while it is waited for, or at the end.

        Raises:
            ConfigError: as in `try_acquire`.
        """
        with deferred():
            self._take(wait=True)
            try:
                yield self.file
            finally:
                self.release()

    def release(self) -> None:
        """Free the lock; not held, nothing happens."""
        with deferred():
            if self._file is not None:
                self._file.close()
                self._file = None

    @property
    def file(self) -> int:
        """The open file's descriptor, while the lock is held."""
        if self._file is None:
            raise ValueError(f"{self._path.name} is not held")
        return self._file.fileno()

    @deferred()
    def _take(self, *, wait: bool) -> bool:
        if self._file is not None:
            raise ValueError(f"{self._path.name} is held already")
        try:
            self._file = FileIO(os.open(self._path, _FLAGS, 0o600), "r+")
            regular(self.file)
        except OSError as exc:
            self.release()
            raise ConfigError(
                f"{self._path} can't be opened ({exc.strerror}); name a folder of your own with "
                "CLORE_HOME."
            ) from exc
        try:
            with waiting():
                _lock(self.file, wait=wait)
        except BaseException as exc:
            self.release()
            if not isinstance(exc, OSError):
                raise
            if not wait and exc.errno in _TAKEN:
                return False
            raise ConfigError(
                f"{self._path.parent} is on a file system without locks ({exc.strerror}), so two "
                "commands could rent at once; name a folder on a local disk with CLORE_HOME."
            ) from exc
        return True


class MemoryLock:
    """A lock among the threads and tasks of one client; as `FileLock`."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._held = False

    @deferred()
    def try_acquire(self) -> bool:
        """Take the lock if it is free; never waits."""
        self._held = self._lock.acquire(blocking=False)
        return self._held

    def release(self) -> None:
        """Free the lock; not held, nothing happens."""
        with deferred():
            if self._held:
                self._held = False
                self._lock.release()


if sys.platform == "win32":  # pragma: no cover - not among the machines that run the tests
    import msvcrt
    import time

    def _lock(file: int, *, wait: bool) -> None:
        while True:
            try:
                os.lseek(file, 0, os.SEEK_SET)
                msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
            except OSError as exc:
                if not (wait and exc.errno in _TAKEN):
                    raise
                time.sleep(0.01)
            else:
                return

else:
    import fcntl

    def _lock(file: int, *, wait: bool) -> None:
        # Of the open file, not of the process as `lockf` has it: threads exclude each other too.
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
