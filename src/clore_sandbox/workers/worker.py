"""One worker: `python -m clore_sandbox.workers.worker LINK SOCKET`, started by crew.py.

Promises: it answers on the socket as the marketplace would; it ends when it is told to, and at once
when the marketplace's process is gone, whatever became of that.
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
"""How long what changed nothing may wait to be noted together; the keeper gets it when it asks."""


class _Notes(Journal):
    """Entries on their way to the marketplace's journal, which numbers them."""

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
            # Before it is answered: whatever then becomes of this process, it is in the journal.
            self.flush()
            self._link.flush()
        elif len(self._kept) == 1:
            asyncio.get_running_loop().call_later(_NOTE_WITHIN_S, self.flush)

    def flush(self) -> None:
        """Send what is kept."""
        if self._kept:
            self._link.tell(Note(self._kept))
            self._kept = []


class _Windows:
    """Kept by the marketplace's own process, so that all workers share them."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def admit(self, account: int, endpoint: str, now_ms: int) -> bool:
        """See `Pace`."""
        return cast("bool", await self._link.ask(Admit(account, endpoint, now_ms)))


class _Service:
    """What this process serves: the API, as far as it can be answered here."""

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
        self.notes = _Notes(link)
        # No fault is ever added here: while one waits, the keeper answers.
        api = Api(self._market, Faults(), self.notes, setup.dialect, Gate(self._market, pace))
        self._api = make_app(api, self._forward)
        self._front = HttpFront(self, sock)
        self._turn = asyncio.Lock()
        """Changes are taken in in the order in which they came, a whole new state among them."""

    async def open(self) -> None:
        """Read the market and begin to answer."""
        # A change that comes while it reads must not be overtaken by what it has read.
        async with self._turn:
            await self._market.open()
        await self._front.open()

    async def close(self) -> None:
        """Answer what has begun."""
        await self._front.close()
        self.notes.flush()
        self._store.close()

    def step(self, step: Step) -> None:
        """Go by this clock, and leave it to the keeper while a fault waits."""
        self._clock.follow(step.clock)
        self._faults = step.faults

    async def show(self, message: Show) -> None:
        """Show what has changed."""
        async with self._turn:
            for follow_up in message.changes:
                self._market.show(self._market.news(follow_up))

    async def reload(self) -> None:
        """Show another state."""
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
    """This end of the line."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._service: _Service | None = None
        self.link: Link | None = None

    async def answer(self, message: object) -> object:
        """Do as the keeper says; None when it is done."""
        if isinstance(message, Setup):
            assert self.link is not None  # noqa: S101 - it came by it
            # Before anything else that is asked is looked at.
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
            service.notes.flush()
            service.step(message)
        elif isinstance(message, Stop):
            await service.close()
        else:
            raise TypeError(f"the marketplace asked {type(message).__name__}")
        return None


def _hear(message: object) -> None:
    """The keeper tells nothing: it asks."""


async def _serve(line: socket.socket, sock: socket.socket) -> None:
    worker = _Worker(sock)
    worker.link = await connect(line, worker.answer, _hear)
    await worker.link.gone


def main() -> None:
    """Serve until the line to the marketplace ends."""
    line, sock = (socket.socket(fileno=int(word)) for word in sys.argv[1:])
    logging.basicConfig(level=logging.WARNING, format=f"worker {os.getpid()}: %(message)s")
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(_serve(line, sock))
    # Nobody is left to answer for: a transaction that is under way is undone by the database.
    os._exit(0)


if __name__ == "__main__":
    main()
