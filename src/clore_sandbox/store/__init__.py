"""The books: all or nothing of what a request changes, in SQLite or in PostgreSQL.

Promises: a function given to `run` or `call` sees all or nothing of every other one, whatever
process it runs in; what it raises rolls back and comes out at the caller. It may be carried out
more than once (the database undid it and asks for it again), so it must do nothing but read and
write its `Tx`.

The SQL is small enough to be written once, with `?` for values; a driver (sqlite_driver.py,
postgres_driver.py) is a connection and the rules of its transactions. Each connection lives on a
thread of its own and takes one job after the other: a single writer needs no locks and no retries,
and was measured several times as fast as the async drivers.

Jobs that come in one turn of an event loop share a transaction: one beginning, one commit, one
change of threads for all of them. Where one of them raises, they are undone together and each is
done again in a transaction of its own, so nobody meets what another has raised. The loop waits for
them, up to `PATIENCE_S`: the thread lets go of the interpreter at every statement, and would wait
for the loop as often to get it back, which takes twice as long in all.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from concurrent.futures import Future
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Optional, Protocol, TypeVar, Union, cast

from clore_sandbox.store.schema import migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["AlreadyThere", "Driver", "Row", "Store", "Tx", "Value", "is_postgres"]

T = TypeVar("T")
Value = Union[int, float, str, None]

#: Jobs in one transaction: a commit shared by so many costs each of them next to nothing.
MOST_TOGETHER = 64
#: How long a loop waits for its jobs before it goes on without them, to see them done later.
PATIENCE_S = 0.05
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
    """Work, and who waits for it: a task of `loop`, or where that is None a thread."""

    def __init__(
        self,
        work: Callable[[Tx], T],
        loop: Optional[asyncio.AbstractEventLoop] = None,
        *,
        early: bool = False,
    ) -> None:
        self.work = work
        self.loop = loop
        self.late = not early
        self.result: Union[Future[T], asyncio.Future[T]] = (
            Future() if loop is None else loop.create_future()
        )
        self._value: Optional[T] = None
        self._error: Optional[BaseException] = None

    def carry_out(self, tx: Tx) -> None:
        """Do it, as a part of a transaction."""
        # Whoever waited for it has given up: it is not begun, and once begun it is not given up.
        if not self.result.cancelled():
            self._value = self.work(tx)

    def fail(self, error: BaseException) -> None:
        """Have this raised where it is waited for."""
        self._error = error

    def tell(self) -> None:
        """Say what came of it, on its own loop."""
        result = self.result
        if isinstance(result, Future):
            if not result.set_running_or_notify_cancel():
                return
        elif result.cancelled():
            return
        if self._error is not None:
            result.set_exception(self._error)
        else:
            # It has been carried out: what it gave is a T, if None is one.
            result.set_result(cast("T", self._value))


def _carry_out(driver: Driver, jobs: Sequence[_Job[Any]]) -> None:
    """All of these in one transaction; where one of them raises, each in one of its own."""
    done = False

    def all_of_them(tx: Tx) -> None:
        nonlocal done
        done = False  # the database may ask for it again
        for job in jobs:
            job.carry_out(tx)
        done = True

    try:
        driver.carry_out(all_of_them)
    except BaseException as exc:  # noqa: BLE001 - whatever it is belongs to those who wait
        if len(jobs) > 1 and not done:
            for job in jobs:
                _carry_out(driver, [job])
            return
        # Where it was the commit that failed, it may have happened, and is not tried again.
        for job in jobs:
            job.fail(exc)


def _tell(jobs: Sequence[_Job[Any]]) -> None:
    """Say what came of them, each loop's in one go."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job[Any]]] = {}
    for job in jobs:
        if job.loop is None:
            job.tell()
        else:
            by_loop.setdefault(job.loop, []).append(job)
    for loop, its in by_loop.items():
        with contextlib.suppress(RuntimeError):  # it is closed: nobody waits any more
            loop.call_soon_threadsafe(_tell_each, its)


def _tell_each(jobs: Sequence[_Job[Any]]) -> None:
    for job in jobs:
        job.tell()


class _Turn:
    """Jobs that came together; `done` once all of them are."""

    def __init__(self, *jobs: _Job[Any]) -> None:
        self.jobs = [*jobs]
        self.done = threading.Event()


class _Line:
    """Jobs, one after the other on a connection; those that come together share a transaction."""

    def __init__(self, driver: Driver) -> None:
        #: None: the end.
        self._turns: queue.SimpleQueue[Optional[_Turn]] = queue.SimpleQueue()
        #: What has come in this turn of a loop.
        self._coming: Optional[_Turn] = None
        opened: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._serve, args=(driver, opened), name="clore-sandbox-store", daemon=True
        )
        self._thread.start()
        opened.result()

    def _serve(self, driver: Driver, opened: Future[None]) -> None:
        try:
            driver.open()
        except BaseException as exc:  # noqa: BLE001 - whoever opens the store must hear of it
            driver.close()
            opened.set_exception(exc)
            return
        opened.set_result(None)
        while (turn := self._turns.get()) is not None:
            for first in range(0, len(turn.jobs), MOST_TOGETHER):
                together = turn.jobs[first : first + MOST_TOGETHER]
                _carry_out(driver, together)
                _tell(together)
                # Until the next one comes, nothing may keep this one's result alive.
                del together
            turn.done.set()
            del turn
        driver.close()

    def submit(self, work: Callable[[Tx], T]) -> Future[T]:
        job = _Job(work)
        self._turns.put(_Turn(job))
        return cast("Future[T]", job.result)

    def run(self, work: Callable[[Tx], T], *, early: bool = False) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        job = _Job(work, loop, early=early)
        turn = self._coming
        if turn is None or turn.jobs[0].loop is not loop:
            turn = self._coming = _Turn()
            loop.call_soon(self._hand_over, turn)
        turn.jobs.append(job)
        return cast("asyncio.Future[T]", job.result)

    def _hand_over(self, turn: _Turn) -> None:
        """What came in one turn of the loop."""
        if self._coming is turn:
            self._coming = None
        turn.jobs.sort(key=attrgetter("late"))
        self._turns.put(turn)
        turn.done.wait(PATIENCE_S)

    def close(self) -> None:
        self._turns.put(None)
        self._thread.join()


class Store:
    """The database: a file, memory (`db` is None), or PostgreSQL (`db` begins `postgresql://`).

    Raises:
        OSError: The file cannot be written, or the database does not answer.
        RuntimeError: Another marketplace uses this database (see `claim`), or another program; or
            PostgreSQL is asked for and its driver is not installed.
    """

    def __init__(self, db: Union[Path, str, None] = None, *, claim: bool = True) -> None:
        """Open it and take the steps of schema.py that it has not seen.

        Args:
            db: See above.
            claim: Be the one marketplace over this database; a worker of it passes False.
        """
        self._reading: Optional[_Line] = None
        # Never the URL: it may hold a password.
        self._where = "this database" if isinstance(db, str) else str(db)
        if isinstance(db, str) and is_postgres(db):
            try:
                from clore_sandbox.store.postgres_driver import (  # noqa: PLC0415 - its own extra
                    PostgresDriver,
                )
            except ImportError as exc:
                raise RuntimeError(
                    "a PostgreSQL database needs the library psycopg; in a"
                    " checkout of clore-ai, run: pip install '.[sandbox,postgres]'"
                ) from exc

            self._writing = _Line(PostgresDriver(db, "claim" if claim else "work"))
            self._reading = _Line(PostgresDriver(db, "read"))
        else:
            from clore_sandbox.store.sqlite_driver import SqliteDriver  # noqa: PLC0415 - as the other

            self._writing = _Line(SqliteDriver(None if db is None else Path(db)))
        try:
            self.call(migrate)
        except Exception as exc:
            self.close()
            raise self.unusable(exc) from exc

    def unusable(self, why: Exception) -> RuntimeError:
        """What to raise where the books in it can't be read."""
        return RuntimeError(f"{self._where} can't be used: {why}; name another with --db")

    def submit(self, work: Callable[[Tx], T]) -> Future[T]:
        """Queue a transaction."""
        return self._writing.submit(work)

    def call(self, work: Callable[[Tx], T]) -> T:
        """Carry out a transaction from a thread that may wait."""
        return self.submit(work).result()

    async def run(self, work: Callable[[Tx], T], *, early: bool = False) -> T:
        """Carry out a transaction from the event loop; `early`, before others that come with it."""
        return await self._writing.run(work, early=early)

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Read the books of one moment, without waiting for whoever writes; it must not write."""
        line = self._reading or self._writing
        return await line.run(work)

    def close(self) -> None:
        """Finish what is queued and close the database."""
        for line in (self._reading, self._writing):
            if line is not None:
                line.close()
