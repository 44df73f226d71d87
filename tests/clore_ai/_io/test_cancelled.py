"""A cancellation ends a flow, whenever it comes: a swallowed one would be an ignored Ctrl-C."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from wire import Wire, says

from clore_ai import AsyncCloreAI
from clore_ai._api.call import Call
from clore_ai._api.steps import Flow, Probe, Send
from hostile import port_that

if TYPE_CHECKING:
    import socket
    from pathlib import Path

WALLETS: Call[Any] = Call("GET", "wallets", lambda body: body)
TURNS = 150
"""More turns of the loop than one round takes."""


class Turns(asyncio.SelectorEventLoop):
    """An event loop that cancels a task at one of its turns."""

    victim: asyncio.Task[None] | None = None
    left = 0

    def _run_once(self) -> None:
        if self.victim is not None:
            self.left -= 1
            if self.left == 0:
                self.victim.cancel()
        super()._run_once()  # type: ignore[misc]


def no_ssh(connection: socket.socket) -> None:
    connection.sendall(b"no SSH here\r\n")
    connection.recv(1)


def test_at_every_turn_of_the_loop(home: Path) -> None:
    """Requests and probes, each over a new connection, for ever."""

    def rounds(port: int) -> Flow[None]:
        while True:
            yield Send(WALLETS)
            yield Probe("127.0.0.1", port, 5.0)

    async def main(port: int, url: str) -> list[int]:
        loop, ignored = asyncio.get_running_loop(), []
        assert isinstance(loop, Turns)
        async with AsyncCloreAI("k", url) as api:
            for turn in range(1, TURNS):
                loop.victim, loop.left = asyncio.ensure_future(api.drive(rounds(port))), turn
                done, _ = await asyncio.wait({loop.victim}, timeout=5)
                if not done:
                    ignored.append(turn)
                    loop.victim.cancel()
                    await asyncio.wait({loop.victim})
        return ignored

    loop = Turns()
    with port_that(no_ssh) as port, Wire(lambda _path, _n: [says(wallets=[])]) as wire:
        try:
            ignored = loop.run_until_complete(main(port, wire.url))
        finally:
            loop.close()
    assert wire.paths.count("wallets") > TURNS
    assert not ignored
