"""A small SQLite database of the state folder, or one in memory. It may do no network I/O.

Opened when it is first used; safe for threads, processes and forks. What SQLite says becomes one
`ConfigError` with the next step. A damaged file is kept aside and a new one begun; nothing is
thrown away.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from clore_ai._interrupts import deferred
from clore_ai._lock import FileLock
from clore_ai.config import private_folder
from clore_ai.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

_BUSY_S = 10.0
_PASSING = ("locked", "readonly", "read-only", "full", "unable to open", "disk I/O")
"""Of the errors that SQLite reports: those that leave the file as it was."""


class Database:
    """One file with the tables that `steps` make, each step once and in this order.

    Args:
        path: the file, in a folder of the user's own; None for a database in memory.
        steps: SQL scripts; their number is the version of the file (``PRAGMA user_version``).
    """

    def __init__(self, path: Path | None, steps: Sequence[str]) -> None:
        self.path = path
        self._steps = steps
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0

    @contextmanager
    def transaction(self, *, write: bool = True) -> Generator[sqlite3.Connection]:
        """All or nothing of what is done in the block; on disk when it is left.

        Raises:
            ConfigError: the file can't be read or written; nothing of the block was kept.
        """
        with deferred(), self._lock:
            try:
                connection = self._open()
                connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
            except sqlite3.IntegrityError:
                raise
            except sqlite3.DatabaseError as exc:
                if self.path is not None:
                    self.close()  # the next use looks anew at what is there
                self._fail(exc)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and (self.path is None or self._process == os.getpid()):
            return self._connection
        if self.path is None:
            self._connection = _connect(":memory:")
            self._migrate(self._connection)
        else:
            self._connection = self._open_file(self.path)
        self._process = os.getpid()
        return self._connection

    def _open_file(self, path: Path) -> sqlite3.Connection:
        _own_folder(path.parent)
        # One at a time: of two that find the file damaged, one moves it away.
        with FileLock(path.with_suffix(".lock")).held():
            aside: str | None = None
            try:
                connection = self._sound(path)
            except sqlite3.DatabaseError as exc:
                if any(word in str(exc) for word in _PASSING):
                    raise
                aside = _set_aside(path)
                connection = self._sound(path)
            if aside is not None:
                connection.execute("INSERT INTO facts VALUES ('damaged', ?)", (aside,))
        return connection

    def _sound(self, path: Path) -> sqlite3.Connection:
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite would make it 0644
        connection = _connect(str(path))
        try:
            _check(connection)
            self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(self._steps):
            raise ConfigError(
                f"{self.path} was written by a newer clore; upgrade this one (pip install -U "
                "clore-ai), or name another folder with CLORE_HOME."
            )
        for number, step in enumerate(self._steps[version:], version + 1):
            connection.executescript(
                f"BEGIN IMMEDIATE; {step}; PRAGMA user_version={number};COMMIT"
            )

    def _fail(self, exc: sqlite3.DatabaseError) -> NoReturn:
        said = str(exc)
        if "locked" in said:
            why = f"has been in use for {_BUSY_S:.0f} s; look for a clore that hangs, or try again"
        elif "full" in said or "disk I/O" in said:
            why = (
                f"can't be written ({said}); make room on its disk, or name another with CLORE_HOME"
            )
        elif any(word in said for word in _PASSING):
            why = f"can't be written ({said}); name a folder of your own with CLORE_HOME"
        else:
            why = f"is damaged ({said}); run the command again: it is kept aside and begun anew"
        raise ConfigError(f"{self.path} {why}.") from exc


def _connect(name: str) -> sqlite3.Connection:
    # Rollback journal, not WAL: it needs no shared memory, and the writes are few.
    connection = sqlite3.connect(
        name, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def _check(connection: sqlite3.Connection) -> None:
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)


def _own_folder(folder: Path) -> None:
    """Make the folder, for this user alone.

    Raises:
        ConfigError: it can't be made, or is somebody else's.
    """
    try:
        if hasattr(os, "geteuid") and folder.exists() and folder.stat().st_uid != os.geteuid():
            raise ConfigError(
                f"{folder} belongs to another user; run clore as that one, or name a folder of "
                "your own with CLORE_HOME."
            )
        private_folder(folder)
    except OSError as exc:
        why = exc.strerror
        if isinstance(exc, FileExistsError):
            why = "it is a file" if folder.exists() else "it is a link that leads nowhere"
        raise ConfigError(
            f"The state folder {folder} can't be used ({why}); name another with CLORE_HOME."
        ) from exc


def _set_aside(path: Path) -> str:
    """Move a damaged file, and the journal that SQLite may have left, out of the way."""
    number = 1
    while (aside := path.with_name(f"{path.stem}.damaged-{number}{path.suffix}")).exists():
        number += 1
    path.replace(aside)
    journal = path.with_name(f"{path.name}-journal")
    if journal.exists():
        journal.replace(aside.with_name(f"{aside.name}-journal"))
    return str(aside)
