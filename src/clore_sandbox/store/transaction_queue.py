"""Runs jobs one after another on the thread of a connection; jobs of one turn share a transaction.

Jobs that an event loop queues in one turn share a transaction: one begin, one commit and one switch
of threads for all of them. If one of them raises, all are rolled back and each is repeated in its
own transaction, so that no job is affected by another's error. The loop waits for them, for up to
`PATIENCE_S`: the thread releases the interpreter at every statement, and if it had to wait for the
loop each time to get it back, the whole would take twice as long.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from concurrent.futures import Future
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from clore_sandbox.store.base import Driver, Tx

T = TypeVar("T")

MOST_TOGETHER = 64
"""Most jobs in one transaction; the cost of the commit is then negligible for each."""
PATIENCE_S = 0.05
"""How long a loop waits for its jobs before it continues, and gets their results later."""


class _Job(Generic[T]):
    """Work for which a task of `loop` waits, or a thread if `loop` is None."""

    def __init__(
        self,
        work: Callable[[Tx], T],
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        early: bool = False,
    ) -> None:
        self.work = work
        self.loop = loop
        self.late = not early
        self.result: Future[T] | asyncio.Future[T] = (
            Future() if loop is None else loop.create_future()
        )
        self._value: T | None = None
        self._error: BaseException | None = None

    def carry_out(self, tx: Tx) -> None:
        """Run it as a part of a transaction."""
        # A cancelled job is not started; one that has started is not cancelled.
        if not self.result.cancelled():
            self._value = self.work(tx)

    def fail(self, error: BaseException) -> None:
        """Let the waiter get this exception."""
        self._error = error

    def resolve(self) -> None:
        """Set the result, on the waiter's own loop."""
        result = self.result
        if isinstance(result, Future):
            if not result.set_running_or_notify_cancel():
                return
        elif result.cancelled():
            return
        if self._error is not None:
            result.set_exception(self._error)
        else:
            # It has run, so this is a T, even if it is None.
            result.set_result(cast("T", self._value))


def _carry_out(driver: Driver, jobs: Sequence[_Job[Any]]) -> None:
    """Run jobs in one transaction; if one of them raises, each in its own."""
    done = False

    def run_all(tx: Tx) -> None:
        nonlocal done
        done = False  # the database may repeat it
        for job in jobs:
            job.carry_out(tx)
        done = True

    try:
        driver.carry_out(run_all)
    except BaseException as exc:  # noqa: BLE001 - the waiters get it, whatever it is
        if len(jobs) > 1 and not done:
            for job in jobs:
                _carry_out(driver, [job])
            return
        # A commit that failed may have taken effect, so it is not repeated.
        for job in jobs:
            job.fail(exc)


def _resolve(jobs: Sequence[_Job[Any]]) -> None:
    """Set the results, all of one loop in one call."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job[Any]]] = {}
    for job in jobs:
        if job.loop is None:
            job.resolve()
        else:
            by_loop.setdefault(job.loop, []).append(job)
    for loop, of_loop in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve_all, of_loop)


def _resolve_all(jobs: Sequence[_Job[Any]]) -> None:
    for job in jobs:
        job.resolve()


class _Turn:
    """Jobs that were queued together; `done` is set after all of them."""

    def __init__(self, *jobs: _Job[Any]) -> None:
        self.jobs = [*jobs]
        self.done = threading.Event()


class TransactionQueue:
    """The queue of a connection, and the thread that empties it."""

    def __init__(self, driver: Driver) -> None:
        self._turns: queue.SimpleQueue[_Turn | None] = queue.SimpleQueue()
        """None ends the thread."""
        self._coming: _Turn | None = None
        """The jobs of the loop's current turn."""
        opened: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._serve, args=(driver, opened), name="clore-sandbox-store", daemon=True
        )
        self._thread.start()
        opened.result()

    def _serve(self, driver: Driver, opened: Future[None]) -> None:
        try:
            driver.open()
        except BaseException as exc:  # noqa: BLE001 - raised where the store is opened
            driver.close()
            opened.set_exception(exc)
            return
        opened.set_result(None)
        while (turn := self._turns.get()) is not None:
            for first in range(0, len(turn.jobs), MOST_TOGETHER):
                together = turn.jobs[first : first + MOST_TOGETHER]
                _carry_out(driver, together)
                _resolve(together)
                # While this thread waits, it must not keep the results alive.
                del together
            turn.done.set()
            del turn
        driver.close()

    def submit(self, work: Callable[[Tx], T]) -> Future[T]:
        """Queue a job for a thread that waits for its result."""
        job = _Job(work)
        self._turns.put(_Turn(job))
        return cast("Future[T]", job.result)

    def run(self, work: Callable[[Tx], T], *, early: bool = False) -> asyncio.Future[T]:
        """Queue a job for the running event loop."""
        loop = asyncio.get_running_loop()
        job = _Job(work, loop, early=early)
        turn = self._coming
        if turn is None or turn.jobs[0].loop is not loop:
            turn = self._coming = _Turn()
            loop.call_soon(self._hand_over, turn)
        turn.jobs.append(job)
        return cast("asyncio.Future[T]", job.result)

    def _hand_over(self, turn: _Turn) -> None:
        """Queue the jobs of one turn of the loop."""
        if self._coming is turn:
            self._coming = None
        turn.jobs.sort(key=attrgetter("late"))
        self._turns.put(turn)
        turn.done.wait(PATIENCE_S)

    def close(self) -> None:
        """Finish what is queued, and disconnect."""
        self._turns.put(None)
        self._thread.join()
