"""The console of a watched job: prints its output and handles Ctrl-C and other signals.

On a terminal, the first Ctrl-C asks whether to keep the job running. The second one, or one without
a terminal, stops the job. While its machine is being rented, Ctrl-C gives the machine up. If the
terminal is closed, a running job is left to a background process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from clore_ai._signals import SIGNALS
from clore_ai.cli import output

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from clore_ai.jobs.supervise.request import JobRequest

_ANSWERS: dict[str, Literal["detach", "stop"]] = {
    "k": "detach",
    "keep": "detach",
    "c": "stop",
    "cancel": "stop",
}
_LOOK_S = 0.2


@dataclass
class Console:
    """Prints a job's output and passes signals on to the job."""

    to_stderr: bool = False
    background: Path | None = None
    """If set, nobody watches: the process leaves the job at a signal, or when this file is gone."""
    asking: bool = False
    interrupted: bool = False
    hung_up: bool = False
    _live: tuple[asyncio.AbstractEventLoop, JobRequest] | None = None
    _early: list[int] = field(default_factory=list[int])
    """Signals that arrived before there was a loop."""
    _may_show: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._may_show.set()
        self.hung_up = self.background is not None

    def show(self, piece: bytes) -> None:
        """Write a piece of output, once a pending question is answered."""
        self._may_show.wait()
        stream = sys.stderr if self.to_stderr else sys.stdout
        left = memoryview(piece)
        while left:
            left = left[os.write(stream.fileno(), left) :]

    @contextlib.contextmanager
    def handling_signals(self) -> Generator[None]:
        """Pass signals to the job in this block; ignore them after it, as the command only ends.

        For the main thread, which receives signals; `on` sets the job's loop, in another thread.
        """

        def hand_on(number: int, _frame: object) -> None:
            if self._live is None:
                self._early.append(number)
                return
            loop, request = self._live
            with contextlib.suppress(RuntimeError):  # the loop has just ended
                loop.call_soon_threadsafe(self._act, number, request)

        for number in SIGNALS:
            signal.signal(number, hand_on)
        try:
            yield
        finally:
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)

    @contextlib.contextmanager
    def on(self, request: JobRequest) -> Generator[None]:
        """Act on signals in this block, in the running event loop."""
        loop = asyncio.get_running_loop()
        self._live = loop, request
        for number in self._early:
            self._act(number, request)
        called_off = asyncio.ensure_future(self._called_off(request))
        try:
            yield
        finally:
            self._live = None
            called_off.cancel()
            self._answered(loop)

    async def _called_off(self, request: JobRequest) -> None:
        while self.background is not None:
            if not self.background.exists():
                request.want("detach")
                return
            await asyncio.sleep(_LOOK_S)

    def _act(self, number: int, request: JobRequest) -> None:
        if number == signal.SIGINT:
            self._pressed(request)
        elif number == signal.SIGTERM:
            self._asked_to_end(request)
        else:
            self._closed(request)

    def _pressed(self, request: JobRequest) -> None:
        if self.background is not None:
            self._closed(request)
            return
        first, self.interrupted = not self.interrupted, True
        if request.stage == "ending":
            self._note("Stopping; this takes a few more seconds.")
        elif request.stage == "renting":
            request.want("stop" if first else "abandon")
        elif request.wanted == "stop":
            self._note("Not waiting for the job.")
            request.want("abandon")
        elif request.wanted == "watch":
            if output.somebody() and not self.asking:
                self._ask(request)
            else:
                self._want(request, "stop")

    def _asked_to_end(self, request: JobRequest) -> None:
        if self.background is not None or request.stage != "watching":
            self._pressed(request)
            return
        self.interrupted = True
        self._want(request, "stop")

    def _closed(self, request: JobRequest) -> None:
        self.hung_up = True
        if request.stage == "renting":
            self.interrupted = True
            request.want("stop")
        elif request.stage == "watching":
            self._want(request, "detach")

    def _ask(self, request: JobRequest) -> None:
        self.asking = True
        self._may_show.clear()
        end = "cancel the machine" if request.cancels else "stop the job"
        self._note("")  # below the ^C
        self._note(f"The job goes on. [k]eep it running, or [c]ancel: {end}? Ctrl-C cancels too:")
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._answer, request)

    def _answer(self, request: JobRequest) -> None:
        line = os.read(sys.stdin.fileno(), 4096).decode("utf-8", "replace")
        wanted = _ANSWERS.get(line.strip().lower())
        if request.stage != "watching":  # too late
            self._answered(asyncio.get_running_loop())
        elif wanted is not None:
            self._want(request, wanted)
        elif not line:  # end of input: nobody can answer
            self._want(request, "detach")
        else:
            self._note("Type k to keep the job running, c to cancel:")

    def _want(self, request: JobRequest, what: Literal["detach", "stop"]) -> None:
        self._answered(asyncio.get_running_loop())
        if what == "stop":
            self._note("Stopping the job…")
        request.want(what)

    def _answered(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.asking:
            self.asking = False
            loop.remove_reader(sys.stdin.fileno())
        self._may_show.set()

    def _note(self, message: str) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone
            output.note(message)
