"""Ctrl-C stops a flow at a step that waits, and nowhere else.

Python runs signal handlers in the main thread, between any two instructions, so `KeyboardInterrupt`
may come after a lock was taken but before this was recorded, or between an order and its record.
Therefore the calls of the main thread run in another thread, and the main thread only waits. An
exception that a handler raises there becomes the failure of the flow's current step: the flow
cleans up with steps of its own, and the main thread raises its final error. No handler is
installed.

The first stop ends the step that waits, a request included, and the flow cleans up. The second ends
a wait of that clean-up, but not a request that changes something: a cancel gets its answer. After
the third the main thread no longer waits. Other threads are never interrupted: they do their own
work.
"""

from __future__ import annotations

import _thread
import threading
import time
from contextlib import suppress
from contextvars import ContextVar, copy_context
from queue import Empty, SimpleQueue
from typing import Callable, Generic, TypeVar, cast

T = TypeVar("T")

_PATIENCE = 2
"""The flow handles this many stops; the next one ends the wait for it."""
LOOK_S, _LONGEST_S, _LEAVES_S = 0.05, 0.5, 1.0


class Stops:
    """The stops of a flow, from the thread that waits for it."""

    def __init__(self) -> None:
        self._came: SimpleQueue[BaseException] = SimpleQueue()  # no signal interrupts its methods
        self.cleaning = False
        """Has a stop taken effect? Then the flow cleans up."""

    def put(self, why: BaseException) -> None:
        """Stop the flow at its next wait."""
        self._came.put(why)

    def came(self) -> bool:
        """Is there a stop that has not taken effect?"""
        return not self._came.empty()

    def check(self) -> None:
        """Raise a stop that has not taken effect yet."""
        self.sleep(0.0)

    def sleep(self, seconds: float) -> None:
        """Wait; a stop ends it."""
        until = time.monotonic() + seconds
        while True:
            left = until - time.monotonic()
            with suppress(Empty):
                # In pieces: the locks of older Pythons wait by the wall clock.
                why = self._came.get(left > 0, min(max(left, 0.0), _LONGEST_S))
                self.cleaning = True
                raise why
            if left <= 0:
                return

    def over(self, work: Callable[[], T], leave: Callable[[], object] = lambda: None) -> T:
        """The result of work that can't be interrupted; a stop calls `leave` and ends the wait."""
        if self is NEVER:
            return work()
        apart = _Apart(work)
        apart.start()
        while not (apart.wait(LOOK_S) or self.came()):
            pass
        if not apart.over:
            leave()
            if not apart.wait(_LEAVES_S) or apart.failure is not None:
                self.check()
        return apart.result()


NEVER = Stops()
"""The stops of threads that are never interrupted."""
_here: ContextVar[Stops] = ContextVar("stops", default=NEVER)


def run(work: Callable[[Stops], T]) -> T:
    """The result of `work`, which receives its stops.

    For the main thread, `work` runs in another thread; a stop that came too late is raised here.
    """
    if threading.get_ident() != threading.main_thread().ident:
        return work(_here.get())
    stops = Stops()

    def apart() -> T:
        _here.set(stops)
        return work(stops)

    return _Waiting(_Apart(apart), stops).result()


class _Apart(Generic[T]):
    """Work in its own thread."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work, self._context = work, copy_context()
        self._result: T | None = None
        self.failure: BaseException | None = None
        self.over = False
        # Locks instead of events: events are Python code, which a signal may leave half done.
        self._begun, self._ended = threading.Lock(), threading.Lock()
        self._ended.acquire()

    def start(self) -> None:
        """Begin."""
        try:
            # No `Thread` object: if the main thread freed it, the callback of a weak set of threads
            # would run there, and Python swallows a Ctrl-C that comes within one.
            _thread.start_new_thread(self._do, ())
        except RuntimeError:  # Python is exiting, or the system allows no more threads: run it here
            self._do()

    def _do(self) -> None:
        if not self._begun.acquire(blocking=False):
            return
        try:
            self._result = self._context.run(self._work)
        except BaseException as exc:  # noqa: BLE001 - raised in the waiting thread
            self.failure = exc
        self.over = True
        self._ended.release()

    def call_off(self) -> None:
        """If the work has not begun, it never will."""
        if self._begun.acquire(blocking=False):
            self.over = True

    def wait(self, seconds: float) -> bool:
        """Wait for its end; has it ended?"""
        if not self.over:
            self._ended.acquire(timeout=seconds)
        return self.over

    def result(self) -> T:
        """Its result, once it has ended."""
        failure, self.failure = self.failure, None
        if failure is None:
            return cast("T", self._result)
        try:
            raise failure
        finally:
            del failure  # else it would be in a reference cycle with its frames


class _Waiting(Generic[T]):
    """The main thread, which waits for work; an exception may come between any two steps here."""

    def __init__(self, apart: _Apart[T], stops: Stops) -> None:
        self._apart, self._stops = apart, stops
        self._started = False
        self._came: list[BaseException] = []
        self._put = 0

    def result(self) -> T:
        """The work's result, or a stop that it did not notice."""
        while not self._apart.over:
            try:
                try:
                    self._wait()
                except BaseException as exc:  # noqa: BLE001 - the flow raises it
                    self._came.append(exc)
            except BaseException as exc:  # noqa: BLE001 - came together with that one
                self._came.append(exc)
            if len(self._came) > _PATIENCE:
                raise self._came[-1]
        try:
            return self._apart.result()
        finally:
            self._hand_on()
            self._stops.check()

    def _hand_on(self) -> None:
        for why in self._came[self._put :]:
            self._put += 1
            self._stops.put(why)

    def _wait(self) -> None:
        if not self._started:
            self._started = True
            self._apart.start()
        self._hand_on()
        if self._came:
            self._apart.call_off()
        while not self._apart.wait(_LONGEST_S):
            pass
