"""The store in PostgreSQL: several processes with one database, by psycopg 3.

Writers of all processes take turns by a lock: every order changes the marketplace's own wallet (its
fees), so writing transactions would wait for each other or fail anyway, and a lock taken first
loses no work. Within the lock, a transaction sees a market as stable as in SQLite. Readers see a
consistent state and never wait.

Which transactions are repeated:

- rolled back by the database (serialization failure, deadlock): repeated, it had no effect;
- connection lost before the commit: repeated on a new connection, once;
- connection lost during the commit: raised, it may have taken effect;
- a unique row exists: PostgreSQL aborts the transaction where SQLite continues, so the work is
  repeated with a savepoint before each change, and there gets its `AlreadyThere`.

`synchronous_commit` is off, just as SQLite's `synchronous` is NORMAL here: a crash of the
marketplace loses nothing; a crash of the database's machine may lose the last transactions.
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
"""How often a transaction is tried that the database rolls back."""
_CLAIM_TIMEOUT_S = 2.0
"""The connections of a killed marketplace may remain for a moment."""

# Advisory locks have two numbers: ours and the schema's, since a database may hold several.
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
        url: `postgresql://…`, as libpq reads it.
        part: `claim` writes, and excludes other marketplaces from this database; `work` writes as
            its worker; `read` only reads.
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
            OSError: The database does not answer; the message never contains the URL's password.
            RuntimeError: Another marketplace uses it.
        """
        # With an unescaped @ in the password, libpq would take part of the password for the host.
        if self._url.partition("://")[2].partition("/")[0].count("@") > 1:
            raise OSError(
                "can't use the database: its URL is invalid; write @ in a password as %40"
            )
        try:
            # From a database created under LANG=C, psycopg would return bytes instead of text.
            connection = self._connection = psycopg.connect(
                self._url, autocommit=True, connect_timeout=10, client_encoding="utf8"
            )
            adapt(connection)
            connection.execute(_SETTINGS)
            if self._part == "claim":
                self._claim(connection)
                tables = connection.execute(_TABLES).fetchall()
                check([name for (name,) in tables], "this database")
            elif self._part == "work":
                connection.execute(_ask("pg_advisory_lock_shared", _WORKING))
        except psycopg.Error as exc:
            # libpq's message about an invalid URL quotes it, password included.
            unread = isinstance(exc, psycopg.ProgrammingError) and exc.sqlstate is None
            why = "its URL is invalid" if unread else " ".join(str(exc).split())
            raise OSError(f"can't use the database: {why}; check --db") from exc

    def _claim(self, connection: psycopg.Connection[Any]) -> None:
        _wait_for(connection, _SERVING)
        if not self._claimed:
            # Wait for the workers of a killed marketplace; later ones are our own.
            _wait_for(connection, _WORKING)
            connection.execute(_ask("pg_advisory_unlock", _WORKING))
        self._claimed = True

    def carry_out(self, work: Callable[[Tx], T]) -> T:
        """One transaction, repeated by the rules above."""
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
        """Disconnect, which releases this connection's locks."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Lost(Exception):  # noqa: N818 - handled here
    """The connection was lost before the commit."""

    def __init__(self, error: psycopg.OperationalError) -> None:
        super().__init__(str(error))
        self.error = error


def _wait_for(connection: psycopg.Connection[Any], lock: int) -> None:
    """Take a lock; a process that was killed releases it within moments."""
    deadline = time.monotonic() + _CLAIM_TIMEOUT_S
    while True:
        row = connection.execute(_ask("pg_try_advisory_lock", lock)).fetchone()
        if row is not None and row[0]:
            return
        if time.monotonic() > deadline:
            raise RuntimeError("another marketplace uses this database")
        time.sleep(0.05)
