"""The books: one transaction per request, on one writer thread.

Promises: a function given to `run` or `call` sees all or nothing of every other one; what it
raises rolls back and comes out at the caller. SQLite with a single writer needs no locks and no
retries and was measured five times as fast as the async drivers (one connection, WAL). The SQL is
small enough to write once: a second driver replaces this file's connection and the `?` of the
placeholders.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, Optional, TypeVar, Union

from clore_sandbox.schema import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["AlreadyThere", "Row", "Store", "Tx", "Value"]

T = TypeVar("T")
Value = Union[int, float, str, None]
Row = sqlite3.Row


class AlreadyThere(Exception):  # noqa: N818 - a finding, not a fault: the row was there first
    """A unique row exists: somebody else's claim."""


class Tx:
    """One transaction, usable only inside the function it was given to."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def all(self, sql: str, *values: Value) -> list[Row]:
        """Every row of a query."""
        return self._connection.execute(sql, values).fetchall()

    def one(self, sql: str, *values: Value) -> Optional[Row]:
        """The first row of a query, or None."""
        row: Optional[Row] = self._connection.execute(sql, values).fetchone()
        return row

    def number(self, sql: str, *values: Value) -> int:
        """The single whole number of a query; 0 where there is none."""
        row = self.one(sql, *values)
        return int(row[0]) if row is not None and row[0] is not None else 0

    def do(self, sql: str, *values: Value) -> int:
        """Change rows; how many were. `AlreadyThere` where a unique row stands in the way."""
        try:
            return self._connection.execute(sql, values).rowcount
        except sqlite3.IntegrityError as exc:
            raise AlreadyThere(str(exc)) from exc


class _Job(Generic[T]):
    def __init__(self, work: Callable[[Tx], T]) -> None:
        self.work = work
        self.result: Future[T] = Future()

    def carry_out(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                outcome = self.work(Tx(connection))
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except BaseException as exc:  # noqa: BLE001 - whatever it is belongs to the caller
            self.result.set_exception(exc)
        else:
            self.result.set_result(outcome)


class Store:
    """The database in a file, or in memory where `path` is None."""

    def __init__(self, path: Optional[Path] = None) -> None:
        if path is not None:
            # It holds API keys and SSH passwords.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._path = ":memory:" if path is None else str(path)
        self._jobs: queue.SimpleQueue[Optional[_Job[object]]] = queue.SimpleQueue()
        opened: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._serve, args=(opened,), name="clore-sandbox-store", daemon=True
        )
        self._thread.start()
        opened.result()

    def _serve(self, opened: Future[None]) -> None:
        try:
            connection = sqlite3.connect(self._path, isolation_level=None)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            # Safe against a crash of the process, which is what a sandbox meets.
            connection.execute("PRAGMA synchronous = NORMAL")
            for statement in SCHEMA:
                connection.execute(statement)
        except BaseException as exc:  # noqa: BLE001 - whoever opens the store must hear of it
            opened.set_exception(exc)
            return
        opened.set_result(None)
        while (job := self._jobs.get()) is not None:
            job.carry_out(connection)
        connection.close()

    def submit(self, work: Callable[[Tx], T]) -> Future[T]:
        """Queue a transaction."""
        job = _Job(work)
        # The queue holds jobs of every type; each one's result goes to its own future.
        self._jobs.put(job)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        return job.result

    def call(self, work: Callable[[Tx], T]) -> T:
        """Carry out a transaction from a thread that may wait."""
        return self.submit(work).result()

    async def run(self, work: Callable[[Tx], T]) -> T:
        """Carry out a transaction from the event loop."""
        return await asyncio.wrap_future(self.submit(work))

    def close(self) -> None:
        """Finish what is queued and close the database."""
        self._jobs.put(None)
        self._thread.join()
