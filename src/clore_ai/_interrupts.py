"""Ctrl-C in the midst of what must not be left half done: it takes effect at its end.

Python runs a signal's handler in the main thread, between any two steps of the interpreter, so
`KeyboardInterrupt` may come after a lock was taken and before anybody knows of it, or before it was
let go. In a `deferred` block the handler only notes that it was called, and is called for good at
the end; what waits in the block says so (`waiting`), and there it is called at once. Other threads
are never interrupted, so nothing is done there. May do no I/O.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

# Those that ask a program to end; SIGHUP is not everywhere.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGHUP", "SIGTERM", "SIGINT") if hasattr(signal, name)
)


class _Gate:
    """The handler while a block runs. Open, it hands on; shut, it keeps."""

    def __init__(self) -> None:
        self.shut = False
        self.inside = False
        self.before: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self.came: list[tuple[int, FrameType | None]] = []

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.shut:
            self.came.append((number, frame))
            return
        # Whoever cleans up after the first one is not disturbed by a second, until it waits.
        self.shut = self.inside
        self.before[number](number, frame)
        self.shut = False

    def set(self, *, shut: bool) -> None:
        """Open it for what has come, or shut it."""
        self.shut = shut
        while self.came and not self.shut:
            self(*self.came.pop(0))


_gate = _Gate()


@contextmanager
def deferred() -> Generator[None]:
    """SIGINT, SIGTERM and SIGHUP that come in the block take effect at its end, or in `waiting`.

    For an instant's work only. Nests; also serves as a decorator.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if _gate.inside:
        was = _gate.shut
        _gate.shut = True
        try:
            yield
        finally:
            _gate.set(shut=was)
        return
    with _handling():
        yield


@contextmanager
def _handling() -> Generator[None]:
    """The outermost block: the handlers are ours in it."""
    try:
        _gate.came.clear()
        _gate.inside = _gate.shut = True
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler) and handler is not _gate:
                _gate.before[number] = handler
                signal.signal(number, _gate)
        yield
    finally:
        # Open first: where one that comes just now leaves it in the place of another, that works.
        _gate.inside = _gate.shut = False
        for number, before in list(_gate.before.items()):
            if signal.getsignal(number) is _gate:
                signal.signal(number, before)
        came, _gate.came = _gate.came, []
        for number, frame in came:
            _gate.before[number](number, frame)


@contextmanager
def waiting() -> Generator[None]:
    """In a `deferred` block: what comes here takes effect at once. Elsewhere it does nothing."""
    mine = _gate.inside and threading.current_thread() is threading.main_thread()
    if not mine:
        yield
        return
    was = _gate.shut
    try:
        _gate.set(shut=False)
        yield
    finally:
        _gate.shut = was


def let_in(*, now: bool) -> None:
    """In a `deferred` block: whether what comes from here on takes effect at once.

    For those who hear of a wait by its beginning and its end; `waiting` is for all others.
    """
    if _gate.inside and threading.current_thread() is threading.main_thread():
        _gate.set(shut=not now)
