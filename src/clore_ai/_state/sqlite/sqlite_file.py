"""One SQLite file of ours: opened, checked, and set aside if it is damaged. No network I/O.

Damage is: SQLite can't read the file, it has other tables than ours (a flipped bit in a name), a
row has other types (`rows`), it is empty, or it is not a file.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from contextlib import closing
from functools import lru_cache
from typing import TYPE_CHECKING

from clore_ai._state.sqlite.rows import DamagedError
from clore_ai._state.sqlite.schema import STEPS
from clore_ai._values.text import plain
from clore_ai.exceptions import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

BUSY_S = 10.0
"""How long we wait for another process."""
_LOOKS_MS = 20
"""How long SQLite waits by itself; no Ctrl-C comes through meanwhile."""
_PASSING = ("locked", "readonly", "read-only", "full", "unable to open", "disk I/O")
"""Words of SQLite's errors that leave the file intact."""


def connect(name: str) -> sqlite3.Connection:
    """A connection that begins and ends transactions only on our command."""
    connection = sqlite3.connect(
        name, timeout=BUSY_S, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    try:
        # Not WAL: a home folder may be on several machines, which share no memory. The journal is
        # kept, emptied: removing it twice per transaction would take longer than the rest.
        connection.execute("PRAGMA journal_mode=PERSIST")
        connection.execute("PRAGMA synchronous=FULL")
    except BaseException:  # they read the file
        connection.close()
        raise
    return connection


def patiently(connection: sqlite3.Connection, statement: str) -> None:
    """Execute a statement that may wait for another process; Ctrl-C comes through meanwhile."""
    until = time.monotonic() + BUSY_S
    connection.execute(f"PRAGMA busy_timeout={_LOOKS_MS}")
    while True:
        try:
            connection.execute(statement)
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc) or time.monotonic() > until:
                raise
        else:
            return


def check_file(path: Path) -> None:
    """Check the file before SQLite opens it: a pipe would block it, and an empty file would pass.

    The file is not read: closing it would end the locks that SQLite holds on it in this process.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise DamagedError("it is not a file")
    if found.st_size <= 1:  # SQLite would begin a new database in it
        raise DamagedError("it is empty")


def check(connection: sqlite3.Connection, path: Path, latest: int = len(STEPS)) -> None:
    """Raise if the file is damaged, or was written by a newer clore."""
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise DamagedError(verdict)
    version = _version(connection, path, latest)
    if not _tables(connection) >= _made_by(version):
        raise DamagedError("its tables were changed")


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Create the tables, from any earlier version."""
    version = _version(connection, path, len(STEPS))
    for number, step in enumerate(STEPS[version:], version + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {step}; PRAGMA user_version={number};COMMIT")


def _version(connection: sqlite3.Connection, path: Path, latest: int) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > latest:
        raise ConfigError(
            f"{path} was written by a newer clore; upgrade this one (pip install . in a newer "
            "checkout), move the file away, or set CLORE_HOME to another folder."
        )
    return int(version)


def _tables(connection: sqlite3.Connection) -> frozenset[tuple[str, ...]]:
    """All tables and indexes, and how each was created."""
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    return frozenset(tuple(row) for row in rows)


@lru_cache
def _made_by(version: int) -> frozenset[tuple[str, ...]]:
    with closing(connect(":memory:")) as connection:
        connection.executescript(";".join(STEPS[:version]))
        return _tables(connection)


def which(path: Path) -> tuple[int, int] | None:
    """The identity of the file at a path; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def aside_of(path: Path) -> Path:
    """The path to which a damaged file is moved."""
    return free_name(path.with_name(f"{path.stem}.damaged-1{path.suffix}"))


def set_aside(path: Path, aside: Path) -> None:
    """Move a damaged file, and the journal that SQLite may have left, out of the way.

    Raises:
        ConfigError: it can't be moved.
    """
    try:
        # The journal first: beside a new file it would be played back into it.
        journal = path.with_name(f"{path.name}-journal")
        if journal.exists():
            journal.replace(aside.with_name(f"{aside.name}-journal"))
        path.replace(aside)
    except OSError as exc:
        raise ConfigError(
            f"{path} is damaged and can't be moved away ({exc.strerror}); move it yourself, or "
            "set CLORE_HOME to another folder."
        ) from exc


def free_name(path: Path) -> Path:
    """The path, or if it exists, the first free one with a higher number."""
    number = 1
    stem = path.stem.removesuffix("-1")
    while os.path.lexists(path):
        number += 1
        path = path.with_name(f"{stem}-{number}{path.suffix}")
    return path


def is_passing(exc: Exception) -> bool:
    """Is the cause outside the file?"""
    error = str(exc)
    operational = isinstance(exc, sqlite3.OperationalError) and "decode to" not in error
    return operational and any(word in error for word in _PASSING)


def is_damage(exc: Exception, path: Path) -> bool:
    """Does an error during use mean that the file is damaged? Not if our SQL may be wrong."""
    return (
        # The second: a message of SQLite quotes a name that is no longer text.
        isinstance(exc, (DamagedError, UnicodeDecodeError))
        or type(exc) is sqlite3.DatabaseError
        or "decode to UTF-8" in str(exc)
        # It reports that it can't be written, although everything else allows it.
        or ("readonly" in str(exc) and all(os.access(p, os.W_OK) for p in (path, path.parent)))
    )


def sentence(path: Path | None, exc: Exception) -> str:
    """The sentence on why the file can't be used, and what to do."""
    error = plain(str(exc))
    if "locked" in error:
        why = f"has been locked for {BUSY_S:.0f} s; look for a clore that hangs, or try again"
    elif "full" in error or "disk I/O" in error:
        why = f"can't be written ({error}); free disk space, or move CLORE_HOME to another disk"
    elif any(word in error for word in _PASSING):
        why = f"can't be written ({error}); set CLORE_HOME to a folder of your own"
    else:
        why = f"can't be used ({error}); move it away and run the command again"
    return f"{path} {why}."
