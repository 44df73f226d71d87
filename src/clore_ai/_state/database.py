"""A small SQLite database of the state folder, or one in memory. It may do no network I/O.

Opened when it is first used; safe for threads, processes and forks. What SQLite says becomes one
`ConfigError` with the next step. A damaged file is kept aside and a new one begun; nothing is
thrown away. Damaged is what SQLite can't read, what has other tables than ours (a flipped bit in a
name), a row of other types (`_rows`), an empty file, and what is no file.
"""

from __future__ import annotations

import atexit
import os
import sqlite3
import stat
import threading
import weakref
from collections import deque
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn

from clore_ai._interrupts import deferred
from clore_ai._state.folder import private_folder
from clore_ai._state.lock import FileLock
from clore_ai._state.rows import DamagedError
from clore_ai._values.text import plain
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
            They make a table `facts`, where ``damaged`` is the place of a damaged file.
        lost: what the user has to do anew where a damaged file was begun anew; then whoever finds
            it gets this in a `ConfigError`, once. None: the file's owner tells of it (`facts`).
    """

    def __init__(self, path: Path | None, steps: Sequence[str], lost: str | None = None) -> None:
        self.path = path
        self._steps = tuple(steps)
        self._lost = lost
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        """Which file that is, whatever stands at its path by now."""
        self._process = 0
        self._ref: weakref.ref[Database] | None = None
        self.aside: str | None = None
        """Where this process has moved a damaged file to; to be cleared by whoever tells of it."""

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
            except (sqlite3.DatabaseError, UnicodeDecodeError, OverflowError) as exc:
                if self.path is not None:
                    self.close()  # the next use looks anew at what is there
                    if _is_damage(exc) or _read_only_itself(exc, self.path):
                        self._begin_anew(self.path, exc)
                self._fail(exc)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._ref is not None:
                _shut(self._ref)
            self._connection = self._ref = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and (
            self.path is None
            # Not where another process has begun it anew, or the user moved it away.
            or (self._process == os.getpid() and _which(self.path) == self._file)
        ):
            return self._connection
        self.close()
        if self.path is None:
            self._connection = _connect(":memory:")
            self._migrate(self._connection)
        else:
            self._connection = self._open_file(self.path)
        self._process = os.getpid()
        _shut_left()
        self._ref = weakref.ref(self, _left.append)
        _opened[self._ref] = (self._connection, self._process)
        return self._connection

    def _open_file(self, path: Path) -> sqlite3.Connection:
        _own_folder(path.parent)
        # One at a time: of two that find the file damaged, one moves it away.
        with FileLock(path.with_suffix(".lock")).held():
            aside = None
            try:
                connection = self._sound(path)
            except (sqlite3.DatabaseError, UnicodeDecodeError) as exc:
                if _is_passing(exc):
                    raise
                aside = self._replace(path)
                connection = self._sound(path)
            self._file = _which(path)
        if aside is not None and self._lost is not None:
            connection.close()
            raise ConfigError(f"{path} was damaged: it is kept as {aside}. {self._lost}")
        return connection

    def _begin_anew(self, path: Path, exc: Exception) -> NoReturn:
        """What was found sound when it was opened turns out to be damaged."""
        with FileLock(path.with_suffix(".lock")).held():
            aside = self._replace(path) if _which(path) == self._file else None  # else another did
        where = "" if aside is None else f": it is kept as {aside}"
        raise ConfigError(
            f"{path} was damaged ({_said(exc)}){where}. "
            + (self._lost or "Run the command again: a new one was begun.")
        ) from exc

    def _replace(self, path: Path) -> str:
        """Begin a new file in the place of a damaged one; where that is kept."""
        try:
            aside = _set_aside(path)
        except OSError as exc:
            raise ConfigError(
                f"{path} is damaged, and can't be moved away ({exc.strerror}); move it yourself, "
                "or name another folder with CLORE_HOME."
            ) from exc
        self._new(path, aside)
        self.aside = aside
        return aside

    def _sound(self, path: Path) -> sqlite3.Connection:
        if not path.exists():
            self._new(path)
        _check_file(path)
        connection = _connect(str(path))
        try:
            _check(connection)
            self._migrate(connection)
            _check_tables(connection, self._steps)
        except BaseException:
            connection.close()
            raise
        return connection

    def _new(self, path: Path, aside: str | None = None) -> None:
        """Make the file, beside its place first: one that is empty there was not left by us."""
        begun = path.with_name(f"{path.name}.new")
        begun.unlink(missing_ok=True)
        os.close(os.open(begun, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))  # SQLite: 0644
        try:
            connection = _connect(str(begun))
            try:
                self._migrate(connection)
                if aside is not None:
                    connection.execute("INSERT INTO facts VALUES ('damaged', ?)", (aside,))
            finally:
                connection.close()
            begun.replace(path)
        finally:
            begun.unlink(missing_ok=True)

    def _migrate(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(self._steps):
            raise ConfigError(
                f"{self.path} was written by a newer clore; upgrade this one (pip "
                "install . in a newer checkout), move the file away, or name another folder with "
                "CLORE_HOME."
            )
        for number, step in enumerate(self._steps[version:], version + 1):
            connection.executescript(
                f"BEGIN IMMEDIATE; {step}; PRAGMA user_version={number};COMMIT"
            )

    def _fail(self, exc: Exception) -> NoReturn:
        said = _said(exc)
        if "locked" in said:
            why = f"has been in use for {_BUSY_S:.0f} s; look for a clore that hangs, or try again"
        elif "full" in said or "disk I/O" in said:
            why = (
                f"can't be written ({said}); make room on its disk, or name another with CLORE_HOME"
            )
        elif any(word in said for word in _PASSING):
            why = f"can't be written ({said}); name a folder of your own with CLORE_HOME"
        else:
            why = f"can't be used ({said}); move it away, and run the command again"
        raise ConfigError(f"{self.path} {why}.") from exc


def _connect(name: str) -> sqlite3.Connection:
    # Rollback journal, not WAL: it needs no shared memory, and the writes are few.
    connection = sqlite3.connect(
        name, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("PRAGMA synchronous=FULL")
    except BaseException:  # it reads the file
        connection.close()
        raise
    return connection


# Python warns of a connection that nobody closed, and tests make errors of warnings. Of a database
# that is gone it is closed later: Python swallows a Ctrl-C that comes in a finalizer, and
# `deque.append` is the only one in whose course none can come.
_opened: dict[weakref.ref[Database], tuple[sqlite3.Connection, int]] = {}
_left: deque[weakref.ref[Database]] = deque()


def _shut(ref: weakref.ref[Database]) -> None:
    connection, process = _opened.pop(ref, (None, 0))
    # A fork's close would end the locks of the process that opened it.
    if connection is not None and process == os.getpid():
        connection.close()


@atexit.register
def _shut_all() -> None:
    for ref in list(_opened):
        _shut(ref)


def _shut_left() -> None:
    """Close what belonged to databases that are gone."""
    with suppress(IndexError):
        while True:
            _shut(_left.popleft())


def _is_passing(exc: Exception) -> bool:
    """Is something else to blame than the file?"""
    said = str(exc)
    operational = isinstance(exc, sqlite3.OperationalError) and "decode to" not in said
    return operational and any(word in said for word in _PASSING)


def _is_damage(exc: Exception) -> bool:
    """Is the file to blame, in the midst of its use? Not where a statement of ours may be."""
    return (
        # The last where a message of SQLite's quotes a name that is no text any more.
        isinstance(exc, (DamagedError, UnicodeDecodeError))
        or type(exc) is sqlite3.DatabaseError
        or "decode to UTF-8" in str(exc)
    )


def _read_only_itself(exc: Exception, path: Path) -> bool:
    """Does the file say that it can't be written, which everything else allows?"""
    return "readonly" in str(exc) and all(os.access(p, os.W_OK) for p in (path, path.parent))


def _said(exc: Exception) -> str:
    return plain(str(exc))


def _check_file(path: Path) -> None:
    """Before SQLite opens it: a pipe would hold it up, and of an empty file it makes a new one.

    Not by reading it: to close it would end the locks that SQLite holds on it in this process.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise DamagedError("it is no file")
    if not found.st_size:
        raise DamagedError("it is empty")


def _check(connection: sqlite3.Connection) -> None:
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise DamagedError(verdict)


def _check_tables(connection: sqlite3.Connection, steps: tuple[str, ...]) -> None:
    if not _tables(connection) >= _made_by(steps):
        raise DamagedError("its tables are not as they were made")


def _tables(connection: sqlite3.Connection) -> frozenset[tuple[str, ...]]:
    """All tables and indexes, and how each was made."""
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")
    return frozenset(tuple(row) for row in rows)


@lru_cache
def _made_by(steps: tuple[str, ...]) -> frozenset[tuple[str, ...]]:
    connection = _connect(":memory:")
    try:
        connection.executescript(";".join(steps))
        return _tables(connection)
    finally:
        connection.close()


def _which(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


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
    while os.path.lexists(aside := path.with_name(f"{path.stem}.damaged-{number}{path.suffix}")):
        number += 1
    path.replace(aside)
    journal = path.with_name(f"{path.name}-journal")
    if journal.exists():
        journal.replace(aside.with_name(f"{aside.name}-journal"))
    return str(aside)
