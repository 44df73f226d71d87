"""`Store`: the database, SQLite or PostgreSQL, in which each request is one transaction.

Promises: a function given to `run` or `call` sees all or nothing of any other one, in whatever
process it runs; if it raises, it is rolled back and the caller gets the exception. It may run more
than once (if the database rolls it back and it is repeated), so it must do nothing but read and
write its `Tx`.

The SQL is written once, with `?` for values; a driver (sqlite_driver.py, postgres_driver.py) is a
connection and the rules of its transactions. Each connection has its own thread, which runs one
transaction after another: a single writer needs no locks and no retries, and was measured several
times as fast as the async drivers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from clore_sandbox.store.base import AlreadyThere, Driver, Row, Tx, Value
from clore_sandbox.store.schema import migrate
from clore_sandbox.store.transaction_queue import TransactionQueue

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

__all__ = ["AlreadyThere", "Driver", "Row", "Store", "Tx", "Value", "is_postgres"]

T = TypeVar("T")
_POSTGRES = ("postgresql://", "postgres://")


def is_postgres(db: Path | str | None) -> bool:
    """Whether this is the URL of a PostgreSQL database."""
    return isinstance(db, str) and db.startswith(_POSTGRES)


class Store:
    """The database: a file, memory (`db` is None), or PostgreSQL (`db` begins `postgresql://`).

    Raises:
        OSError: The file cannot be written, or the database does not answer.
        RuntimeError: Another marketplace uses this database (see `claim`), or another program; or
            the driver of PostgreSQL is not installed.
    """

    def __init__(self, db: Path | str | None = None, *, claim: bool = True) -> None:
        """Open the database and bring its tables up to date (schema.py).

        Args:
            db: See above.
            claim: Refuse a database that another marketplace serves; a worker passes False.
        """
        self._reading: TransactionQueue | None = None
        # Never the URL: it may hold a password.
        self._where = "this database" if isinstance(db, str) else str(db)
        if isinstance(db, str) and is_postgres(db):
            try:
                from clore_sandbox.store.postgres_driver import (  # a separate extra
                    PostgresDriver,
                )
            except ImportError as exc:
                raise RuntimeError(
                    "a PostgreSQL database needs the library psycopg; in a"
                    " checkout of clore-ai, run: pip install '.[sandbox,postgres]'"
                ) from exc

            self._writing = TransactionQueue(PostgresDriver(db, "claim" if claim else "work"))
            self._reading = TransactionQueue(PostgresDriver(db, "read"))
        else:
            from clore_sandbox.store.sqlite_driver import SqliteDriver

            self._writing = TransactionQueue(SqliteDriver(None if db is None else Path(db)))
        try:
            self.call(migrate)
        except Exception as exc:
            self.close()
            raise self.unusable(exc) from exc

    def unusable(self, why: Exception) -> RuntimeError:
        """The error for a database that cannot be read."""
        return RuntimeError(f"{self._where} can't be used: {why}; choose another with --db")

    def submit(self, work: Callable[[Tx], T]) -> Future[T]:
        """Queue a transaction."""
        return self._writing.submit(work)

    def call(self, work: Callable[[Tx], T]) -> T:
        """Carry out a transaction from a thread that may wait."""
        return self.submit(work).result()

    async def run(self, work: Callable[[Tx], T], *, early: bool = False) -> T:
        """Carry out a transaction from the event loop; `early`: before others of the same turn."""
        return await self._writing.run(work, early=early)

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Read a consistent state without waiting for writers; `work` must not write."""
        line = self._reading or self._writing
        return await line.run(work)

    def close(self) -> None:
        """Finish what is queued and close the database."""
        for line in (self._reading, self._writing):
            if line is not None:
                line.close()
