"""Locks among processes, on files of the state folder, for work that takes long or is handed over.

The system frees such a lock when its holder ends in any way: after a kill -9 nobody waits. Work
that takes an instant is a transaction of the `Store` instead. May do no network I/O.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from io import FileIO
from typing import TYPE_CHECKING

from clore_ai._state.folder import regular
from clore_ai.exceptions import ConfigError

if TYPE_CHECKING:
    from pathlib import Path
    from weakref import WeakValueDictionary

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)  # opening a pipe does not block
_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
_guard = threading.Lock()


class FileLock:
    """One holder at a time among all processes, threads and tasks of this machine.

    Two objects of one path exclude each other even in one thread. The file is never removed, since
    two could then hold the lock. Wherever it is interrupted, an object that is no longer referenced
    holds nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # An object, not its number: it closes itself when it is no longer referenced.
        self._file: FileIO | None = None

    def try_acquire(self) -> bool:
        """Take the lock if it is free; never waits.

        Raises:
            ConfigError: the file can't be opened, or its file system has no locks.
        """
        if self._file is not None:
            raise ValueError(f"{self._path.name} is already held")
        file = self._file = opened(self._path)
        try:
            taken = locked(file, self._path, wait=False)
        except BaseException:
            self.release()
            raise
        if not taken:
            self.release()
        return taken

    def release(self) -> None:
        """Free the lock; does nothing if it is not held."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    @property
    def file(self) -> int:
        """The open file's descriptor, while the lock is held."""
        if self._file is None:
            raise ValueError(f"{self._path.name} is not held")
        return self._file.fileno()


def opened(path: Path) -> FileIO:
    """The file of a lock, not locked yet. As a context manager it always frees the lock.

    ``with opened(path) as file: locked(file, path)`` holds the lock in the block. Entering and
    leaving are single steps of the interpreter, so no Ctrl-C can come in between.

    Raises:
        ConfigError: it can't be opened.
    """
    try:
        return FileIO(os.fspath(path), "r+", opener=lambda name, _: _open(name))
    except OSError as exc:
        raise ConfigError(
            f"{path} can't be opened ({exc.strerror}); set CLORE_HOME to a folder of your own."
        ) from exc


def _open(name: str) -> int:
    file = os.open(name, _FLAGS, 0o600)
    try:
        regular(file)
    except BaseException:
        os.close(file)
        raise
    return file


def locked(file: FileIO, path: Path, *, wait: bool = True) -> bool:
    """Lock an open file until it is closed; False if another process holds the lock.

    Raises:
        ConfigError: its file system has no locks.
    """
    try:
        _lock(file.fileno(), wait=wait)
    except OSError as exc:
        if not wait and exc.errno in _TAKEN:
            return False
        raise ConfigError(
            f"{path.parent} is on a file system without locks ({exc.strerror}), so two commands "
            "could rent at once; set CLORE_HOME to a folder on a local disk."
        ) from exc
    return True


class MemoryLock:
    """As `FileLock`, among objects that share the dictionary of holders."""

    def __init__(self, holders: WeakValueDictionary[str, MemoryLock], name: str) -> None:
        self._holders, self._name = holders, name

    def try_acquire(self) -> bool:
        """Take the lock if it is free; never waits."""
        with _guard:
            return self._holders.setdefault(self._name, self) is self

    def release(self) -> None:
        """Free the lock; does nothing if it is not held."""
        with _guard:
            if self._holders.get(self._name) is self:
                del self._holders[self._name]


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
        # The lock belongs to the open file, not to the process as with `lockf`: threads exclude
        # each other, too.
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
