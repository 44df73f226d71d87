"""`WorkerPool` starts the workers of a marketplace, keeps them in step, replaces and stops them.

Promises: once a worker has answered a change, all workers show it. When a control returns, its
change of the clock or of the faults applies in all of them. A worker that dies is replaced, and the
transactions it left in the store are followed up; one that does not answer is killed and replaced.
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
"""A worker that has not applied a change by then hangs."""
_STOP_TIMEOUT_S = 5.0
_DEATHS_A_MINUTE = 20
"""After more deaths than this in a minute, starting another worker would not help."""


class _Worker:
    """One process and the link to it."""

    def __init__(self, index: int, process: subprocess.Popen[bytes], link: Link) -> None:
        self.index = index
        self.process = process
        self.link = link
        self.serves = False


class WorkerPool:
    """The workers of one marketplace; everything runs on its event loop.

    Args:
        sockets: One listening socket for each worker. They stay open here, so that connections
            that wait for a worker that dies are served by its replacement.
        market: The marketplace they all serve.
        app: Answers instead of the workers: controls, and all requests while a fault is pending.
        pace: The rate limits that they share.
        journal: The journal that they share.
        setup: Makes the first message to a worker, from the current state.
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
        """Done if the pool cannot go on."""
        market.publish = self._publish
        market.republish = self._republish

    async def open(self) -> None:
        """Start all workers, and return once all of them serve."""
        await asyncio.gather(*(self._start(index) for index in range(len(self._sockets))))

    async def _start(self, index: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            numbers = (theirs.fileno(), self._sockets[index].fileno())
            process = subprocess.Popen(  # noqa: S603, ASYNC220 - our own module; it starts at once
                [sys.executable, "-m", "clore_sandbox.workers.worker", *map(str, numbers)],
                pass_fds=numbers,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # Ctrl-C goes to the marketplace, which then stops its workers in order.
                start_new_session=True,
            )
        link = await connect(ours, self._answer, self._take)
        worker = self._workers[index] = _Worker(index, process, link)
        watch = asyncio.ensure_future(self._watch(worker))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)
        asked = asyncio.ensure_future(link.ask(self._setup()))
        await asyncio.wait({asked}, timeout=_START_TIMEOUT_S)
        if not asked.done():
            asked.cancel()
            raise asyncio.TimeoutError
        asked.result()
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
            self.failed.set_exception(RuntimeError("the workers keep dying"))
            return
        log.warning("worker %d has died; another one replaces it", worker.process.pid)
        with contextlib.suppress(Gone, Failed, asyncio.TimeoutError):
            await asyncio.gather(self._start(worker.index), self._market.recover())

    # -- messages to workers --------------------------------------------------------------------

    def _publish(self, changes: list[FollowUp]) -> list[asyncio.Future[object]]:
        return self._ask_all(Show(changes))

    def _republish(self) -> list[asyncio.Future[object]]:
        return self._ask_all(Reload())

    def _ask_all(self, message: object) -> list[asyncio.Future[object]]:
        """Send a message to all workers; the pending answers of those that serve."""
        waiting: list[asyncio.Future[object]] = []
        for worker in self._workers.values():
            asked = worker.link.asking(message)
            asked.add_done_callback(_ignore_failure)
            if worker.serves:
                waiting.append(asked)
                _kill_if_it_hangs(worker, asked)
        return waiting

    async def in_step(self, *, always: bool = False) -> None:
        """Return once all workers use the current clock and faults.

        With `always`, their journal entries have also arrived.
        """
        step = self._setup().step
        if step == self._last_step and not always:
            return
        self._last_step = step
        waiting = self._ask_all(step)
        if waiting:
            await asyncio.wait(waiting)

    # -- messages from workers ---------------------------------------------------------------------

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

    def _take(self, message: object) -> None:
        if isinstance(message, Note):
            for entry in message.entries:
                self._journal.write(dataclasses.replace(entry, number=self._journal.number()))

    # -- the end -------------------------------------------------------------------------------

    async def close(self) -> None:
        """Let the workers finish their answers, and end them."""
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


def _ignore_failure(asked: asyncio.Future[object]) -> None:
    """Mark the exception as retrieved: without a waiter, a dead worker needs no report."""
    if not asked.cancelled():
        asked.exception()


def _kill_if_it_hangs(worker: _Worker, asked: asyncio.Future[object]) -> None:
    def end() -> None:
        log.warning("worker %d hangs and is killed", worker.process.pid)
        worker.process.kill()

    timer = asyncio.get_running_loop().call_later(_ANSWER_TIMEOUT_S, end)
    asked.add_done_callback(lambda _: timer.cancel())
