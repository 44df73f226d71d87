"""The books: one transaction a request, in SQLite or in PostgreSQL.

Promises: a function given to `run` or `call` sees all or nothing of every other one, whatever
process it runs in; what it raises rolls back and comes out at the caller. It may be carried out
more than once (the database undid it and asks for it again), so it must do nothing but read and
write its `Tx`.

The SQL is small enough to be written once, with `?` for values; a driver (sqlite_driver.py,
postgres_driver.py) is a connection and the rules of its transactions. Each connection lives on a
thread of its own and takes one job after the other: a single writer needs no locks and no retries,
and was measured several times as fast as the async drivers.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Optional, Protocol, TypeVar, Union

from clore_sandbox.store.schema import migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["AlreadyThere", "Driver", "Row", "Store", "Tx", "Value", "is_postgres"]

T = TypeVar("T")
Value = Union[int, float, str, None]

_POSTGRES = ("postgresql://", "postgres://")


def is_postgres(db: Union[Path, str, None]) -> bool:
    """Whether this names a PostgreSQL database rather than a file."""
    return isinstance(db, str) and db.startswith(_POSTGRES)


class AlreadyThere(Exception):  # noqa: N818 - a finding, not a fault: the row was there first
    """A unique row exists: somebody else's claim."""


class Row(Protocol):
    """One row, by column name or number."""

    def __getitem__(self, key: Union[str, int], /) -> Any:  # noqa: ANN401 - what the column holds
        """The value of a column."""
        ...

    def keys(self) -> list[str]:
        """The columns' names."""
        ...


class Tx(Protocol):
    """One transaction, usable only inside the function it was given to."""

    def all(self, sql: str, *values: Value) -> list[Row]:
        """Every row of a query."""
        ...

    def one(self, sql: str, *values: Value) -> Optional[Row]:
        """The first row of a query, or None."""
        ...

    def number(self, sql: str, *values: Value) -> int:
        """The single whole number of a query; 0 where there is none."""
        ...

    def do(self, sql: str, *values: Value) -> int:
        """Change rows; how many were. `AlreadyThere` where a unique row stands in the way."""
        ...


class Driver(Protocol):
    """A connection, used by the one thread that opened it."""

    def open(self) -> None:
        """Connect."""
        ...

    def carry_out(self, work: Callable[[Tx], T]) -> T:
        """One transaction: committed if `work` returns, rolled back if it raises."""
        ...

    def close(self) -> None:
        """Disconnect."""
        ...


class _Job(Generic[T]):
    def __init__(self, work: Callable[[Tx], T]) -> None:
        self.work = work
        self.result: Future[T] = Future()

    def carry_out(self, driver: Driver) -> None:
        # Whoever waited for it has given up: it is not begun, and once begun it is not given up.
        if not self.result.set_running_or_notify_cancel():
            return
        try:
            outcome = driver.carry_out(self.work)
        except BaseException as exc:  # noqa: BLE001 - whatever it is belongs to the caller
            self.result.set_exception(exc)
        else:
            self.result.set_result(outcome)


class _Line:
    """Jobs, one after the other on each of these connections."""

    def __init__(self, drivers: Sequence[Driver]) -> None:
        self._jobs: queue.SimpleQueue[Optional[_Job[object]]] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        try:
            for driver in drivers:
                self._start(driver)
        except BaseException:
            self.close()
            raise

    def _start(self, driver: Driver) -> None:
        opened: Future[None] = Future()
        thread = threading.Thread(
            target=self._serve, args=(driver, opened), name="clore-sandbox-store", daemon=True
        )
        thread.start()
        opened.result()
        self._threads.append(thread)

    def _serve(self, driver: Driver, opened: Future[None]) -> None:
        try:
            driver.open()
        except BaseException as exc:  # noqa: BLE001 - whoever opens the store must hear of it
            driver.close()
            opened.set_exception(exc)
            return
        opened.set_result(None)
        while (job := self._jobs.get()) is not None:
            job.carry_out(driver)
            # Until the next one comes, nothing may keep this one's result alive.
            del job
        driver.close()

    def submit(self, work: Callable[[Tx], T]) -> Future[T]:
        job = _Job(work)
        # The queue holds jobs of every type; each one's result goes to its own future.
        self._jobs.put(job)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        return job.result

    def close(self) -> None:
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()


class Store:
    """The database: a file, memory (`db` is None), or PostgreSQL (`db` begins `postgresql://`).

    Raises:
        ModuleNotFoundError: PostgreSQL is asked for and its driver is not installed.
        OSError: The file cannot be written, or the database does not answer.
        RuntimeError: Another marketplace uses this database (see `claim`), or something else.
    """

    def __init__(self, db: Union[Path, str, None] = None, *, claim: bool = True) -> None:
        """Open it and take the steps of schema.py that it has not seen.

        Args:
            db: See above.
            claim: Be the one marketplace over this database; a worker of it passes False.
        """
        self._reading: Optional[_Line] = None
        if isinstance(db, str) and is_postgres(db):
            from clore_sandbox.store.postgres_driver import (  # noqa: PLC0415 - an extra of its own
                PostgresDriver,
            )

            self._writing = _Line([PostgresDriver(db, "claim" if claim else "work")])
            self._reading = _Line([PostgresDriver(db, "read")])
        else:
            from clore_sandbox.store.sqlite_driver import SqliteDriver  # noqa: PLC0415 - as the other

            self._writing = _Line([SqliteDriver(None if db is None else Path(db))])
        try:
            self.call(migrate)
        except Exception as exc:
            self.close()
            # Never the URL: it may hold a password.
            where = "this database" if isinstance(db, str) else str(db)
            raise RuntimeError(
                f"{where} has tables that are no marketplace's ({exc}); name an empty one"
            ) from exc

    def submit(self, work: Callable[[Tx], T]) -> Future[T]:
        """Queue a transaction."""
        return self._writing.submit(work)

    def call(self, work: Callable[[Tx], T]) -> T:
        """Carry out a transaction from a thread that may wait."""
        return self.submit(work).result()

    async def run(self, work: Callable[[Tx], T]) -> T:
        """Carry out a transaction from the event loop."""
        return await asyncio.wrap_future(self.submit(work))

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Read the books of one moment, without waiting for whoever writes; it must not write."""
        line = self._reading or self._writing
        return await asyncio.wrap_future(line.submit(work))

    def close(self) -> None:
        """Finish what is queued and close the database."""
        for line in (self._reading, self._writing):
            if line is not None:
                line.close()
