"""The store in SQLite: a file that one process uses, or memory.

Promises: only the file's owner can read it (it holds API keys and SSH passwords), and only one
marketplace at a time can open it. A killed process leaves complete transactions.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
from typing import TYPE_CHECKING, TypeVar

from clore_sandbox.store.base import AlreadyThere
from clore_sandbox.store.schema import check

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clore_sandbox.store.base import Row, Tx, Value

__all__ = ["SqliteDriver"]

T = TypeVar("T")


class _Tx:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def all(self, sql: str, *values: Value) -> list[Row]:
        return self._connection.execute(sql, values).fetchall()

    def one(self, sql: str, *values: Value) -> Row | None:
        row: Row | None = self._connection.execute(sql, values).fetchone()
        return row

    def number(self, sql: str, *values: Value) -> int:
        row = self.one(sql, *values)
        return int(row[0]) if row is not None and row[0] is not None else 0

    def do(self, sql: str, *values: Value) -> int:
        try:
            return self._connection.execute(sql, values).rowcount
        except sqlite3.IntegrityError as exc:
            raise AlreadyThere(str(exc)) from exc


class SqliteDriver:
    """The database in a file, or in memory if `path` is None."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock: int | None = None
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open or create the file.

        Raises:
            OSError: It cannot be written, or is not a database.
            RuntimeError: Another marketplace has it open, or it is another program's.
        """
        if self._path is not None:
            self._lock = _claim(self._path)
        try:
            connection = sqlite3.connect(self._path or ":memory:", isolation_level=None)
            self._connection = connection
            connection.row_factory = sqlite3.Row
            # Before any change: it may be another program's.
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            check([row["name"] for row in tables], str(self._path))
            connection.execute("PRAGMA journal_mode = WAL")
            # Safe against a crash of the process, though not of the machine.
            connection.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error as exc:
            raise OSError(f"can't keep the state in {self._path}: {exc}") from exc

    def carry_out(self, work: Callable[[Tx], T]) -> T:
        """One transaction; no other can be open."""
        connection = self._connection
        assert connection is not None  # noqa: S101 - `Store` opens it first
        connection.execute("BEGIN IMMEDIATE")
        try:
            outcome = work(_Tx(connection))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return outcome

    def close(self) -> None:
        """Close the file and release it for another marketplace."""
        if self._connection is not None:
            self._connection.close()
        if self._lock is not None:
            # Closing is not enough: a process that was forked meanwhile would keep the lock.
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            os.close(self._lock)
            self._lock = None


def _claim(path: Path) -> int:
    """Lock a second file: SQLite's own locks are lost when any descriptor of its file closes."""
    try:
        _make(path)
        lock = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as exc:
        raise OSError(f"can't keep the state in {path}: {exc.strerror}") from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise RuntimeError(f"another marketplace uses {path}") from None
    return lock


def _make(path: Path) -> None:
    """Create the file if it is missing; a FIFO does not block this."""
    file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY, 0o600)
    found = os.fstat(file)
    regular = stat.S_ISREG(found.st_mode)
    if regular and not found.st_size:  # it will hold keys
        os.fchmod(file, 0o600)
    os.close(file)
    if not regular:
        raise OSError(errno.EINVAL, "it is not a regular file")
