"""A terminal, or none, that watches a job: where its output goes, and where Ctrl-C comes from.

Ctrl-C once asks on a terminal whether the job is to go on; without one, or the second time, the job
is stopped. A terminal that is closed leaves the job running.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clore_ai._interrupts import SIGNALS
from clore_ai.cli import output

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from clore_ai.exceptions import LimitReached
    from clore_ai.jobs.supervise import Supervision

_ANSWERS = {"k": "detach", "keep": "detach", "c": "stop", "cancel": "stop"}
_LOOK_S = 0.2


def interrupt_by_any() -> None:
    """SIGTERM and SIGHUP are as Ctrl-C from here on: what is rented is cancelled, or named."""
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler)


@dataclass
class Console:
    """Where the output goes, and where Ctrl-C comes from."""

    to_stderr: bool = False
    background: Path | None = None
    """Nobody looks on; it leaves the job to itself when it is told to end, or this file is gone."""
    asking: bool = False
    interrupted: bool = False
    hung_up: bool = False
    failure: LimitReached | None = None
    """What is to be said last."""
    _ending: bool = False
    _may_show: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._may_show.set()
        self.hung_up = self.background is not None

    @property
    def somebody(self) -> bool:
        """Is there a terminal to ask on?"""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def show(self, piece: bytes) -> None:
        """Write it, after the question that stands there."""
        self._may_show.wait()
        stream = sys.stderr if self.to_stderr else sys.stdout
        left = memoryview(piece)
        while left:
            left = left[os.write(stream.fileno(), left) :]

    @contextlib.contextmanager
    def hold(self) -> Generator[None]:
        """Nothing is broken off in this block: money. Ctrl-C is `on`'s, or said to take a moment.

        It stays so after the block: what follows is the end of the command.
        """
        self.take()
        try:
            yield
        finally:
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)

    def take(self) -> None:
        """From here on Ctrl-C is noted, for the job to come."""
        for number in SIGNALS:
            signal.signal(number, self._later)

    def _later(self, number: int, _frame: object) -> None:
        self.interrupted = True
        self.hung_up |= number == signal.SIGHUP
        if self._ending:
            with contextlib.suppress(OSError):
                os.write(2, b"Ending; a few seconds more.\n")

    @contextlib.contextmanager
    def on(self, watch: Supervision) -> Generator[None]:
        """Ctrl-C and the rest are the job's in this block."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._pressed, watch)
        loop.add_signal_handler(signal.SIGTERM, self._told_to_end, watch)
        loop.add_signal_handler(signal.SIGHUP, self._closed, watch)
        if self.interrupted:  # before there was a loop
            self._want(watch, "detach" if self.hung_up else "stop")
        called_off = asyncio.ensure_future(self._called_off(watch))
        try:
            yield
        finally:
            called_off.cancel()
            self._ending = True
            self._asked(loop)
            for number in SIGNALS:
                loop.remove_signal_handler(number)
            self.take()

    async def _called_off(self, watch: Supervision) -> None:
        while self.background is not None:
            if not self.background.exists():
                watch.wishes.want("detach")
                return
            await asyncio.sleep(_LOOK_S)

    def _pressed(self, watch: Supervision) -> None:
        if self.background is not None:
            self._closed(watch)
        elif watch.wishes.wanted == "stop":
            self._note("Not waiting for the job.")
            watch.wishes.want("abandon")
        elif watch.wishes.wanted == "watch":
            self.interrupted = True
            if self.somebody and not self.asking:
                self._ask(watch)
            else:
                self._want(watch, "stop")

    def _told_to_end(self, watch: Supervision) -> None:
        if self.background is not None:
            self._closed(watch)
            return
        self.interrupted = True
        self._want(watch, "stop")

    def _closed(self, watch: Supervision) -> None:
        self.hung_up = True
        self._want(watch, "detach")

    def _ask(self, watch: Supervision) -> None:
        self.asking = True
        self._may_show.clear()
        end = "cancel the machine" if watch.job.cancels else "stop the job"
        self._note("")  # below the ^C
        self._note(f"The job goes on. [k]eep it running, or [c]ancel: {end}? Ctrl-C cancels too:")
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._answer, watch)

    def _answer(self, watch: Supervision) -> None:
        line = os.read(sys.stdin.fileno(), 4096).decode("utf-8", "replace")
        wanted = _ANSWERS.get(line.strip().lower())
        if wanted is not None:
            self._want(watch, wanted)
        elif not line:  # the end of the input: nobody is there
            self._want(watch, "detach")
        else:
            self._note("Type k to keep the job running, c to cancel:")

    def _want(self, watch: Supervision, what: str) -> None:
        self._asked(asyncio.get_running_loop())
        if what == "stop":
            self._note("Stopping the job…")
            watch.wishes.want("stop")
        else:
            watch.wishes.want("detach")

    def _asked(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.asking:
            self.asking = False
            loop.remove_reader(sys.stdin.fileno())
        self._may_show.set()

    def _note(self, said: str) -> None:
        with contextlib.suppress(OSError):  # a terminal that is gone
            output.note(said)
