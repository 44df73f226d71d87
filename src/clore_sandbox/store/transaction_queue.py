"""Jobs, one after the other on the thread of a connection.

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
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from clore_sandbox.store.base import Driver, Tx

T = TypeVar("T")

MOST_TOGETHER = 64
"""Jobs in one transaction: a commit shared by so many costs each of them next to nothing."""
PATIENCE_S = 0.05
"""How long a loop waits for its jobs before it goes on without them, to see them done later."""


class _Job(Generic[T]):
    """Work, and who waits for it: a task of `loop`, or where that is None a thread."""

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


class TransactionQueue:
    """Jobs, one after the other on a connection; those that come together share a transaction."""

    def __init__(self, driver: Driver) -> None:
        self._turns: queue.SimpleQueue[_Turn | None] = queue.SimpleQueue()
        """None: the end."""
        self._coming: _Turn | None = None
        """What has come in this turn of a loop."""
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
        """Queue a job; its result is waited for by a thread."""
        job = _Job(work)
        self._turns.put(_Turn(job))
        return cast("Future[T]", job.result)

    def run(self, work: Callable[[Tx], T], *, early: bool = False) -> asyncio.Future[T]:
        """Queue a job; its result is awaited in the running event loop."""
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
        """Finish what is queued, and disconnect."""
        self._turns.put(None)
        self._thread.join()
