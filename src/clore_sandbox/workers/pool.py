"""The workers of one marketplace: started, kept in step, replaced when they die, stopped.

Promises: what one worker has answered for, every other one shows. The clock and the faults of a
control are in force in all of them when the control returns. A worker that dies is replaced, and
what it had decided in the store is carried out; one that does not answer is ended and so replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from clore_sandbox.workers import forward
from clore_sandbox.workers.link import Failed, Gone, Link, connect
from clore_sandbox.workers.messages import (
    Admit,
    Follow,
    HttpAnswer,
    HttpRequest,
    Note,
    Reload,
    Setup,
    Show,
    Step,
    Stop,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.types import ASGIApp

    from clore_sandbox.faults.journal import Journal
    from clore_sandbox.http.gate import Pace
    from clore_sandbox.market.follow_up import FollowUp
    from clore_sandbox.workers.shared_market import KeptMarket

__all__ = ["WorkerPool"]

log = logging.getLogger("clore_sandbox")

_START_TIMEOUT_S = 30.0
_ANSWER_TIMEOUT_S = 10.0
"""A worker that has not shown a change by then hangs."""
_STOP_TIMEOUT_S = 5.0
_DEATHS_A_MINUTE = 20
"""More deaths than this in a minute have a cause that another start does not mend."""


class _Worker:
    """One process and the line to it."""

    def __init__(self, place: int, process: subprocess.Popen[bytes], link: Link) -> None:
        self.place = place
        self.process = process
        self.link = link
        self.serves = False


class WorkerPool:
    """The workers; everything runs on the marketplace's loop.

    Args:
        sockets: One for each worker, listening; they stay open here, so that connections which
            wait for a worker that dies wait for the next.
        market: The marketplace they all serve.
        app: Answers in their place: controls, and everything while a fault waits.
        pace: Their windows.
        journal: Where they write.
        setup: What each is told first, as things stand.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        *,
        market: KeptMarket,
        app: ASGIApp,
        pace: Pace,
        journal: Journal,
        setup: Callable[[], Setup],
    ) -> None:
        self._sockets = sockets
        self._market = market
        self._app = app
        self._pace = pace
        self._journal = journal
        self._setup = setup
        self._workers: dict[int, _Worker] = {}
        self._watches: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._deaths: list[float] = []
        self._last_step: Step | None = None
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the crew cannot go on."""
        market.publish = self._publish
        market.republish = self._republish

    async def open(self) -> None:
        """Start them all, and return once they all serve."""
        await asyncio.gather(*(self._start(place) for place in range(len(self._sockets))))

    async def _start(self, place: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            numbers = (theirs.fileno(), self._sockets[place].fileno())
            process = subprocess.Popen(  # noqa: S603, ASYNC220 - our own module; it starts at once
                [sys.executable, "-m", "clore_sandbox.workers.worker", *map(str, numbers)],
                pass_fds=numbers,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # Ctrl-C is for the marketplace, which then stops its workers in good order.
                start_new_session=True,
            )
        link = await connect(ours, self._answer, self._hear)
        worker = self._workers[place] = _Worker(place, process, link)
        watch = asyncio.ensure_future(self._watch(worker))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)
        await asyncio.wait_for(link.ask(self._setup()), _START_TIMEOUT_S)
        worker.serves = True

    async def _watch(self, worker: _Worker) -> None:
        """Replace a worker once it is gone."""
        await worker.link.gone
        worker.serves = False
        worker.process.kill()
        await asyncio.to_thread(worker.process.wait)
        if self._stopping or self.failed.done():
            return
        now = time.monotonic()
        self._deaths = [then for then in self._deaths if now - then < 60] + [now]  # noqa: PLR2004 - s
        if len(self._deaths) > _DEATHS_A_MINUTE:
            self.failed.set_exception(RuntimeError("the workers die again and again"))
            return
        log.warning("worker %d is gone; another one takes its place", worker.process.pid)
        with contextlib.suppress(Gone, Failed, asyncio.TimeoutError):
            await asyncio.gather(self._start(worker.place), self._market.recover())

    # -- what they are told --------------------------------------------------------------------

    def _publish(self, changes: list[FollowUp]) -> list[asyncio.Future[object]]:
        return self._ask_all(Show(changes))

    def _republish(self) -> list[asyncio.Future[object]]:
        return self._ask_all(Reload())

    def _ask_all(self, message: object) -> list[asyncio.Future[object]]:
        """Send to all at once; the answers of those that serve."""
        waiting: list[asyncio.Future[object]] = []
        for worker in self._workers.values():
            asked = worker.link.asking(message)
            asked.add_done_callback(_seen)
            if worker.serves:
                waiting.append(asked)
                _end_where_it_hangs(worker, asked)
        return waiting

    async def in_step(self, *, always: bool = False) -> None:
        """Return once all go by the clock and the faults as they are now.

        With `always`, and what they have noted is in the journal.
        """
        step = self._setup().step
        if step == self._last_step and not always:
            return
        self._last_step = step
        waiting = self._ask_all(step)
        if waiting:
            await asyncio.wait(waiting)

    # -- what they say -------------------------------------------------------------------------

    async def _answer(self, message: object) -> object:
        if isinstance(message, Follow):
            await self._market.follow(message.follow_up, wait=message.wait)
            return None
        if isinstance(message, Admit):
            return await self._pace.admit(message.account, message.endpoint, message.now_ms)
        if isinstance(message, HttpRequest):
            return await self._answer_http(message)
        raise TypeError(f"a worker asked {type(message).__name__}")

    async def _answer_http(self, request: HttpRequest) -> HttpAnswer:
        if request.path.startswith("/control"):
            await self.in_step(always=True)
        answer = await forward.answer(self._app, request)
        await self.in_step()
        return answer

    def _hear(self, message: object) -> None:
        if isinstance(message, Note):
            for entry in message.entries:
                self._journal.write(dataclasses.replace(entry, number=self._journal.number()))

    # -- the end -------------------------------------------------------------------------------

    async def close(self) -> None:
        """Let them answer what they have begun, and end them all."""
        self._stopping = True
        stopping = self._ask_all(Stop())
        if stopping:
            await asyncio.wait(stopping, timeout=_STOP_TIMEOUT_S)
        for worker in self._workers.values():
            worker.process.kill()
            worker.link.close()
        if self._watches:
            await asyncio.wait(self._watches)
        for sock in self._sockets:
            sock.close()


def _seen(asked: asyncio.Future[object]) -> None:
    """Whoever waits sees it; where nobody does, a worker that is gone is no news."""
    if not asked.cancelled():
        asked.exception()


def _end_where_it_hangs(worker: _Worker, asked: asyncio.Future[object]) -> None:
    def end() -> None:
        log.warning("worker %d hangs and is ended", worker.process.pid)
        worker.process.kill()

    timer = asyncio.get_running_loop().call_later(_ANSWER_TIMEOUT_S, end)
    asked.add_done_callback(lambda _: timer.cancel())
