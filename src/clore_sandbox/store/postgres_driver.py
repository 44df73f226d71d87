"""The books in PostgreSQL: several processes over one database, by psycopg 3.

Who writes stands in one line, over all processes: every order changes the marketplace's own
wallet (its fees), so transactions that change something would wait for each other or be undone in
any case, and a lock that is taken first costs nothing and loses no work. Inside the line the market
is as still as in SQLite. Readers see the books of one moment and wait for nobody.

What is tried again, and what is not:

- undone by the database (serialization failure, deadlock): again, it surely did not happen;
- a connection that was lost before the commit was asked for: again on a new one, once;
- a connection that was lost while committing: raised, it may have happened;
- a unique row in the way: PostgreSQL ends the transaction where SQLite goes on, so the work is
  carried out anew with a savepoint before each change, and there gets its `AlreadyThere`.

`synchronous_commit` is off, as SQLite's `synchronous` is NORMAL here: a crash of the marketplace
loses nothing, a crash of the database's machine perhaps the last moments, in whole transactions.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import psycopg
from psycopg import errors

from clore_sandbox.store.postgres_tx import Carefully, PostgresTx, adapt
from clore_sandbox.store.schema import check

if TYPE_CHECKING:
    from collections.abc import Callable

    from clore_sandbox.store.base import Tx

__all__ = ["PostgresDriver"]

T = TypeVar("T")
Part = Literal["claim", "work", "read"]

ATTEMPTS = 10
"""How often a transaction that the database undid is tried."""
_CLAIM_TIMEOUT_S = 2.0
"""A killed marketplace's connections may live for a moment."""

# Advisory locks have two numbers: ours, and the schema's, as a database may hold several.
_WRITING = 1_129_074_242
_SERVING = 1_129_074_243
_WORKING = 1_129_074_244


def _ask(function: str, lock: int) -> bytes:
    return f"SELECT {function}({lock}, hashtext(current_schema()))".encode()


_BEGIN_WRITING = b"BEGIN; " + _ask("pg_advisory_xact_lock", _WRITING)
_BEGIN_READING = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_SETTINGS = """
    SET synchronous_commit = off;
    SET idle_in_transaction_session_timeout = '30s';
    SET client_min_messages = warning;
    SET timezone = 'UTC'
"""
_TABLES = b"SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"


class PostgresDriver:
    """One connection.

    Args:
        url: `postgresql://…`, as libpq takes it.
        part: `claim` writes and is the one marketplace over this database; `work` writes for
            it; `read` only reads.
    """

    def __init__(self, url: str, part: Part) -> None:
        self._url = url
        self._part: Part = part
        self._begin = _BEGIN_READING if part == "read" else _BEGIN_WRITING
        self._claimed = False
        self._connection: psycopg.Connection[Any] | None = None
        self._columns: dict[str, dict[str, int]] = {}

    def open(self) -> None:
        """Connect.

        Raises:
            OSError: The database does not answer; the message never holds the URL's password.
            RuntimeError: Another marketplace serves it.
        """
        # What stands before the last @ is a password with one in it: libpq takes it for the host.
        if self._url.partition("://")[2].partition("/")[0].count("@") > 1:
            raise OSError(
                "cannot use the database: its URL can't be read; write @ in a password as %40"
            )
        try:
            # A database made under LANG=C keeps bytes, of which psycopg would make no text.
            connection = self._connection = psycopg.connect(
                self._url, autocommit=True, connect_timeout=10, client_encoding="utf8"
            )
            adapt(connection)
            connection.execute(_SETTINGS)
            if self._part == "claim":
                self._be_the_only_one(connection)
                tables = connection.execute(_TABLES).fetchall()
                check([name for (name,) in tables], "this database")
            elif self._part == "work":
                connection.execute(_ask("pg_advisory_lock_shared", _WORKING))
        except psycopg.Error as exc:
            # Of a URL that it can't read libpq shows the part with the password.
            unread = isinstance(exc, psycopg.ProgrammingError) and exc.sqlstate is None
            why = "its URL can't be read" if unread else " ".join(str(exc).split())
            raise OSError(f"cannot use the database: {why}; look at --db") from exc

    def _be_the_only_one(self, connection: psycopg.Connection[Any]) -> None:
        _wait_for(connection, _SERVING)
        if not self._claimed:
            # Nor may a worker of a marketplace that was killed be left; from here on they are ours.
            _wait_for(connection, _WORKING)
            connection.execute(_ask("pg_advisory_unlock", _WORKING))
        self._claimed = True

    def carry_out(self, work: Callable[[Tx], T]) -> T:
        """One transaction, tried again by the rules above."""
        attempts, carefully, lost = 0, False, False
        while True:
            try:
                return self._attempt(work, carefully=carefully)
            except Carefully:
                carefully = True
            except (errors.SerializationFailure, errors.DeadlockDetected):
                attempts += 1
                if attempts == ATTEMPTS:
                    raise
            except _Lost as exc:
                if lost:
                    raise exc.error from exc
                lost = True
                self.close()
                self.open()

    def _attempt(self, work: Callable[[Tx], T], *, carefully: bool) -> T:
        connection = self._connection
        if connection is None:
            raise _Lost(psycopg.OperationalError("the connection was lost"))
        try:
            connection.execute(self._begin)
            outcome = work(PostgresTx(connection, self._columns, carefully=carefully))
        except BaseException as exc:
            with contextlib.suppress(psycopg.Error):
                connection.execute("ROLLBACK")
            if isinstance(exc, psycopg.OperationalError) and connection.broken:
                raise _Lost(exc) from exc
            raise
        connection.execute("COMMIT")
        return outcome

    def close(self) -> None:
        """Disconnect; what this connection had locked is free."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Lost(Exception):  # noqa: N818 - what happened, and it is handled here
    """The connection was lost before a commit was asked for."""

    def __init__(self, error: psycopg.OperationalError) -> None:
        super().__init__(str(error))
        self.error = error


def _wait_for(connection: psycopg.Connection[Any], lock: int) -> None:
    """Take a lock; what was killed with it in its hands lets go within moments."""
    deadline = time.monotonic() + _CLAIM_TIMEOUT_S
    while True:
        row = connection.execute(_ask("pg_try_advisory_lock", lock)).fetchone()
        if row is not None and row[0]:
            return
        if time.monotonic() > deadline:
            raise RuntimeError("another marketplace uses this database")
        time.sleep(0.05)
