"""The store of a state folder: one SQLite file, ``state.sqlite``, or one in memory. No network I/O.

It is opened on first use, and is safe for threads, processes and forks. A transaction is all or
nothing, takes an instant, and is the lock among processes. Errors of SQLite become one
`ConfigError` with the next step. A damaged file is set aside and a new one created; nothing is
deleted. Files of an earlier clore are imported once (`earlier`).

Ctrl-C may come between any two steps of the interpreter. So everything that must be undone is held
by objects written in C, which ``with`` enters and leaves in one step: the lock of the threads, the
connection (it rolls back) and the file that is locked while the store is opened. Rows are fetched
all at once: an unfinished cursor, in a frame that a traceback keeps, would hold the file.
"""

from __future__ import annotations

import atexit
import os
import platform
import re
import sqlite3
import threading
import weakref
from collections import deque
from contextlib import closing, suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Protocol, TypeVar

from clore_ai._state.folder import private_folder
from clore_ai._state.lock import locked, opened
from clore_ai._state.sqlite import earlier
from clore_ai._state.sqlite.sqlite_file import (
    aside_of,
    check,
    check_file,
    connect,
    is_damage,
    is_passing,
    migrate,
    patiently,
    sentence,
    set_aside,
    which,
)
from clore_ai._values.text import plain
from clore_ai.exceptions import ConfigError

if TYPE_CHECKING:
    from typing_extensions import Concatenate, ParamSpec

    P = ParamSpec("P")

T = TypeVar("T")

FILE = "state.sqlite"
LOST = (
    "Budgets, leases, refs, purposes, blocked hosts and the list of jobs are lost. Check "
    "clore orders, and set again what you need (clore budget set, clore hosts block)."
)


class Store:
    """The records in `folder`, or in memory. All methods are safe to call from any thread.

    `run` may wait for another process, 10 s at most, and `close` for other threads; `begun` never
    waits.
    """

    def __init__(
        self, folder: Path | None = None, on_message: Callable[[str], None] | None = None
    ) -> None:
        self.folder = folder
        self.path = None if folder is None else folder / FILE
        self.machine = re.sub(r"[^\w.-]", "_", platform.node())
        """A folder may be on several machines, but monotonic times belong to one."""
        self.on_message = on_message
        """Called with a sentence once the files of an earlier clore were imported."""
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        """The identity of the open file, even if another is at its path by now."""
        self._process = 0
        self._ref: weakref.ref[Store] | None = None
        self._aside: Path | None = None
        """The path to which this process moved a damaged file, until `check_loss` has reported
        it."""

    def begun(self) -> bool:
        """Is there any record yet? This creates no file and never fails."""
        folder = self.folder
        return folder is None or os.path.lexists(folder / FILE) or earlier.left(folder)

    def run(self, do: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `do`, in one transaction that is on disk when this returns.

        Raises:
            ConfigError: the file can't be read or written; nothing was changed.
        """
        with self._lock:
            try:
                return self._run(do)
            except (sqlite3.DatabaseError, UnicodeDecodeError, OverflowError) as exc:
                if self.path is not None:
                    self.close()  # the next use looks at the path again
                    if is_damage(exc, self.path):
                        raise self._begin_anew(self.path, exc) from exc
                raise ConfigError(sentence(self.path, exc)) from exc

    def _run(self, do: Callable[[sqlite3.Connection], T]) -> T:
        with self._open() as connection:
            patiently(connection, "BEGIN IMMEDIATE")
            result = do(connection)
            patiently(connection, "COMMIT")
        return result

    def check_loss(self) -> None:
        """Check before renting whether budgets, refs and blocks were just lost; raises once.

        Raises:
            ConfigError: this process found the store damaged, and created a new one.
        """
        self.run(lambda _: None)
        aside, self._aside = self._aside, None
        if aside is not None:
            raise ConfigError(
                f"{self.path} was damaged, so nothing was rented. It is kept as {aside}, and a "
                f"new one was created. {LOST} Then run the command again."
            )

    def close(self) -> None:
        """Close the file; the next use opens it again. A store in memory is kept."""
        if self.path is None:
            return
        with self._lock:
            ref, self._connection, self._ref = self._ref, None, None
            if ref is not None:
                _shut(ref)

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and (
            self.path is None
            # Not if another process has replaced it, or the user moved it away.
            or (self._process == os.getpid() and which(self.path) == self._file)
        ):
            return self._connection
        self.close()
        if self.path is None:
            connection = connect(":memory:")
            migrate(connection, Path(":memory:"))
        else:
            connection = self._open_file(self.path)
        self._connection, self._process = connection, os.getpid()
        _shut_left()
        self._ref = weakref.ref(self, _left.append)
        _opened[self._ref] = (connection, self._process)
        return connection

    def _open_file(self, path: Path) -> sqlite3.Connection:
        _own_folder(path.parent)
        lock = path.with_suffix(".lock")
        # One at a time: of two processes that find the file damaged, one moves it away.
        with opened(lock) as file:
            locked(file, lock)
            try:
                connection = self._sound(path)
            except (sqlite3.DatabaseError, UnicodeDecodeError) as exc:
                if is_passing(exc):
                    raise
                self._replace(path)
                connection = self._sound(path)
            self._file = which(path)
        return connection

    def _begin_anew(self, path: Path, exc: Exception) -> ConfigError:
        """Handle a file that was sound when it was opened, but turns out to be damaged."""
        aside, lock = "", path.with_suffix(".lock")
        with opened(lock) as file:
            locked(file, lock)
            if which(path) == self._file:  # else another process replaced it
                aside = f": it is kept as {self._replace(path)}"
        return ConfigError(
            f"{path} was damaged ({plain(str(exc))}){aside}. A new one was created; run the "
            f"command again. {LOST}"
        )

    def _replace(self, path: Path) -> str:
        """Replace a damaged file by a new one; returns where the old one is kept.

        The new file records this, and is complete before the old one is moved: after a kill between
        the two steps, the next command puts it in its place.
        """
        aside = aside_of(path)
        with closing(_Begun(path)) as begun:
            migrate(begun.connection, path)
            begun.lost(aside)
            begun.put(_next(path))
        set_aside(path, aside)
        _next(path).replace(path)
        self._aside = aside
        return str(aside)

    def _sound(self, path: Path) -> sqlite3.Connection:
        if not os.path.lexists(path):
            if os.path.lexists(_next(path)):
                _next(path).replace(path)
            else:
                self._begin(path)
        check_file(path)
        connection = connect(str(path))
        try:
            check(connection, path)
            migrate(connection, path)
            earlier.finish(connection, path.parent, self.on_message)
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin(self, path: Path) -> None:
        """Create a new file, with the records of an earlier clore."""
        try:
            self._take_over(path)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as exc:
            ledger = path.with_name(earlier.LEDGER)
            if is_passing(exc) or not os.path.lexists(ledger):
                raise
            self._aside = aside_of(ledger)
            set_aside(ledger, self._aside)
            self._take_over(path)

    def _take_over(self, path: Path) -> None:
        with closing(_Begun(path)) as begun, closing(earlier.Earlier(path.parent)) as before:
            before.copy_ledger(begun.connection)
            migrate(begun.connection, path)
            if self._aside is not None:
                begun.lost(self._aside)
            before.copy_rest(begun.connection)
            begun.put(path)
            earlier.put_away(path.parent)


def _next(path: Path) -> Path:
    return path.with_name(f"{path.name}.next")


class _Begun:
    """A new file, created beside its place: so an empty file in its place is not ours."""

    def __init__(self, path: Path) -> None:
        self._new = path.with_name(f"{path.name}.new")
        self._clean()
        os.close(os.open(self._new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))  # not 0644
        self.connection = connect(str(self._new))
        # No journal and no syncs: the file counts only once it is `put` in its place.
        self.connection.execute("PRAGMA journal_mode=MEMORY")
        self.connection.execute("PRAGMA synchronous=OFF")

    def lost(self, aside: Path) -> None:
        """Record where the damaged one is kept."""
        self.connection.execute("INSERT OR REPLACE INTO facts VALUES ('damaged', ?)", (str(aside),))

    def put(self, path: Path) -> None:
        """Put it in its place."""
        self.connection.close()
        with self._new.open("rb+") as file:
            os.fsync(file.fileno())
        self._new.replace(path)

    def close(self) -> None:
        """Remove what is left beside the file."""
        self.connection.close()
        self._clean()

    def _clean(self) -> None:
        self._new.unlink(missing_ok=True)


class _HasStore(Protocol):
    @property
    def store(self) -> Store: ...


S = TypeVar("S", bound=_HasStore)


def transaction(
    method: Callable[Concatenate[S, sqlite3.Connection, P], T],
) -> Callable[Concatenate[S, P], T]:
    """Makes a method run inside one transaction of `self.store`, whose connection it receives."""

    @wraps(method)
    def run(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.store.run(lambda db: method(self, db, *args, **kwargs))

    return run


# Python warns about a connection that was not closed, and tests turn warnings into errors. The
# connection of a discarded store is closed later: Python swallows a Ctrl-C in a finalizer, and
# `deque.append` is the only finalizer during which none can come.
_opened: dict[weakref.ref[Store], tuple[sqlite3.Connection, int]] = {}
_left: deque[weakref.ref[Store]] = deque()


def _shut(ref: weakref.ref[Store]) -> None:
    connection, process = _opened.pop(ref, (None, 0))
    # Closing it in a fork would end the locks of the process that opened it.
    if connection is not None and process == os.getpid():
        connection.close()


@atexit.register
def _shut_all() -> None:
    for ref in list(_opened):
        _shut(ref)


def _shut_left() -> None:
    """Close the connections of discarded stores."""
    with suppress(IndexError):
        while True:
            _shut(_left.popleft())


def _own_folder(folder: Path) -> None:
    """Create the folder, for this user alone.

    Raises:
        ConfigError: it can't be created, or belongs to another user.
    """
    try:
        if hasattr(os, "geteuid") and folder.exists() and folder.stat().st_uid != os.geteuid():
            raise ConfigError(
                f"{folder} belongs to another user; run clore as that user, or set CLORE_HOME to "
                "a folder of your own."
            )
        private_folder(folder)
    except OSError as exc:
        why = exc.strerror
        if isinstance(exc, FileExistsError):
            why = "it is a file" if folder.exists() else "it is a broken link"
        raise ConfigError(
            f"The state folder {folder} can't be used ({why}); set CLORE_HOME to another folder."
        ) from exc
