"""One worker process: `python -m clore_sandbox.workers.worker LINK SOCKET`, started by pool.py.

Promises: it answers on the socket as the keeper would; it ends on the message `Stop`, and at once
when the keeper's process is gone for any reason.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from typing import TYPE_CHECKING, cast

import uvloop

from clore_sandbox.faults.faults import Faults
from clore_sandbox.faults.journal import LONGEST_ANSWER, Journal
from clore_sandbox.fleet.inventory import Inventory
from clore_sandbox.http.app import Api, make_app
from clore_sandbox.http.gate import Gate, Windows
from clore_sandbox.http.server import HttpFront
from clore_sandbox.market.clock import Clock
from clore_sandbox.market.timetable import Timetable
from clore_sandbox.provision import Nothing
from clore_sandbox.store import Store
from clore_sandbox.workers import forward
from clore_sandbox.workers.link import Link, connect
from clore_sandbox.workers.messages import Admit, Note, Reload, Setup, Show, Step, Stop
from clore_sandbox.workers.shared_market import WorkersMarket

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from clore_sandbox.faults.journal import Entry

__all__ = ["main"]

_NOTE_WITHIN_S = 0.05
"""How long entries of requests that changed nothing are collected; the keeper can flush them."""


class _ForwardedJournal(Journal):
    """Sends its entries to the keeper's journal, which numbers them."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self._link = link
        self._kept: list[Entry] = []

    def number(self) -> int:
        return 0

    def write(self, entry: Entry) -> None:
        if entry.sent.body is not None and len(entry.sent.body) > LONGEST_ANSWER:
            entry.sent.body = None
        self._kept.append(entry)
        if entry.acted and entry.method != "GET":
            # Before it is answered, so that it is in the journal even if this process dies.
            self.flush()
            self._link.flush()
        elif len(self._kept) == 1:
            asyncio.get_running_loop().call_later(_NOTE_WITHIN_S, self.flush)

    def flush(self) -> None:
        """Send the collected entries."""
        if self._kept:
            self._link.send(Note(self._kept))
            self._kept = []


class _Windows:
    """Rate limits kept by the keeper, so that all workers share them."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def admit(self, account: int, endpoint: str, now_ms: int) -> bool:
        """See `Pace`."""
        return cast("bool", await self._link.ask(Admit(account, endpoint, now_ms)))


class _Service:
    """The API as this process serves it; it forwards to the keeper what it cannot answer."""

    def __init__(self, setup: Setup, link: Link, sock: socket.socket) -> None:
        self._link = link
        self._store = Store(setup.db, claim=False)
        self._clock = Clock()
        self.step(setup.step)
        self._market = WorkersMarket(
            self._store,
            self._clock,
            Timetable(self._clock),
            provisioner=Nothing(),
            inventory=Inventory.of([], setup.rates),
            delays=setup.delays,
        )
        self._market.link = link
        pace = _Windows(link) if setup.limited else Windows(None)
        self.journal = _ForwardedJournal(link)
        # No fault is ever added here: while one is pending, the keeper answers.
        api = Api(self._market, Faults(), self.journal, setup.dialect, Gate(self._market, pace))
        self._api = make_app(api, self._forward)
        self._front = HttpFront(self, sock)
        self._turn = asyncio.Lock()
        """Applies changes in the order of arrival, replacements of the whole state included."""

    async def open(self) -> None:
        """Read the market and begin to answer."""
        # A change that arrives meanwhile must be applied after what is read here.
        async with self._turn:
            await self._market.open()
        await self._front.open()

    async def close(self) -> None:
        """Finish the answers that have begun."""
        await self._front.close()
        self.journal.flush()
        self._store.close()

    def step(self, step: Step) -> None:
        """Use this clock, and forward all requests while a fault is pending."""
        self._clock.follow(step.clock)
        self._faults = step.faults

    async def show(self, message: Show) -> None:
        """Show changes."""
        async with self._turn:
            for follow_up in message.changes:
                self._market.show(self._market.news(follow_up))

    async def reload(self) -> None:
        """Show a new state."""
        async with self._turn:
            await self._market.reload()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if self._faults:
            await self._forward(scope, receive, send)
        else:
            await self._api(scope, receive, send)

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        await forward.forward(self._link, scope, receive, send)


class _Worker:
    """Answers the keeper's messages."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._service: _Service | None = None
        self.link: Link | None = None

    async def answer(self, message: object) -> object:
        """Carry out a message; None when it is done."""
        if isinstance(message, Setup):
            assert self.link is not None  # noqa: S101 - the message came through it
            # At once, before a later message is handled.
            self._service = _Service(message, self.link, self._sock)
            await self._service.open()
            return None
        service = self._service
        assert service is not None  # noqa: S101 - the setup comes first
        if isinstance(message, Show):
            await service.show(message)
        elif isinstance(message, Reload):
            await service.reload()
        elif isinstance(message, Step):
            service.journal.flush()
            service.step(message)
        elif isinstance(message, Stop):
            await service.close()
        else:
            raise TypeError(f"the marketplace asked {type(message).__name__}")
        return None


def _take(message: object) -> None:
    """The keeper sends questions only."""


async def _serve(link: socket.socket, sock: socket.socket) -> None:
    worker = _Worker(sock)
    worker.link = await connect(link, worker.answer, _take)
    await worker.link.gone


def main() -> None:
    """Serve until the link to the keeper ends."""
    link, sock = (socket.socket(fileno=int(word)) for word in sys.argv[1:])
    logging.basicConfig(level=logging.WARNING, format=f"worker {os.getpid()}: %(message)s")
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(_serve(link, sock))
    # Nothing is left to answer: the database rolls an open transaction back.
    os._exit(0)


if __name__ == "__main__":
    main()
