"""Plain TCP from a public port to the port inside; the HTTP one says 502 while nobody listens.

Bytes are copied, not read: websockets, streaming and uploads pass as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

__all__ = ["Forward", "join"]

_CHUNK = 65_536
_BAD_GATEWAY = (
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 52\r\n"
    b"Connection: close\r\n\r\n<html><body><h1>502 Bad Gateway</h1></body></html>\r\n"
)


class Source(Protocol):
    """Where bytes come from: a stream of asyncio's or asyncssh's."""

    async def read(self, n: int = -1, /) -> bytes:
        """Some bytes; none at the end."""
        ...


class Sink(Protocol):
    """Where bytes go: likewise."""

    def write(self, data: bytes, /) -> None:
        """Take them."""

    async def drain(self) -> None:
        """Wait until there is room for more."""

    def can_write_eof(self) -> bool:
        """Whether its end can be told while the other direction goes on."""
        ...

    def write_eof(self) -> None:
        """Tell its end."""

    def close(self) -> None:
        """End both directions."""


Ends = tuple[Source, Sink]


class Forward:
    """A public port that leads into a room."""

    def __init__(self, dial: Callable[[], Awaitable[socket.socket]], *, http: bool) -> None:
        self._dial = dial
        self._http = http
        self._guests: set[asyncio.Task[None]] = set()

    async def open(self, sock: socket.socket) -> None:
        """Serve a bound socket by connecting each client to what `dial` reaches."""
        self._server = await asyncio.start_server(self._connect, sock=sock)

    def close(self) -> None:
        """Listen no more, and cut who is connected."""
        self._server.close()
        for guest in list(self._guests):
            guest.cancel()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a stream's callback runs in one
        self._guests.add(task)
        try:
            await self._serve(reader, writer)
        finally:
            self._guests.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            try:
                inside = await asyncio.open_connection(sock=await self._dial())
            except OSError:
                if self._http:
                    # Read the request first: closing on unread bytes resets the answer away.
                    await reader.read(_CHUNK)
                    writer.write(_BAD_GATEWAY)
                    await writer.drain()
                return
            await join((reader, writer), inside)


async def join(one: Ends, other: Ends) -> None:
    """Copy both ways until both have ended; each side's end is passed on by itself."""
    with contextlib.closing(one[1]), contextlib.closing(other[1]):
        await asyncio.gather(_pump(one[0], other[1]), _pump(other[0], one[1]))


async def _pump(source: Source, sink: Sink) -> None:
    """Copy until the source ends, then close the sink's side only."""
    while data := await source.read(_CHUNK):
        sink.write(data)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()
