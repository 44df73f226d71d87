"""Forwards a public port to a port inside a room; HTTP answers 502 if nothing listens there.

Bytes are copied unread, so that websockets, streaming and uploads work.
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
    """A stream of asyncio or asyncssh to read from."""

    async def read(self, n: int = -1, /) -> bytes:
        """Read some bytes; none at the end."""
        ...


class Sink(Protocol):
    """A stream of asyncio or asyncssh to write to."""

    def write(self, data: bytes, /) -> None:
        """Write bytes."""

    async def drain(self) -> None:
        """Wait until there is room for more."""

    def can_write_eof(self) -> bool:
        """Whether it can be half-closed."""
        ...

    def write_eof(self) -> None:
        """Half-close it."""

    def close(self) -> None:
        """Close both directions."""


Ends = tuple[Source, Sink]


class Forward:
    """A public port that leads into a room."""

    def __init__(self, dial: Callable[[], Awaitable[socket.socket]], *, http: bool) -> None:
        self._dial = dial
        self._http = http
        self._clients: set[asyncio.Task[None]] = set()

    async def open(self, sock: socket.socket) -> None:
        """Listen on a bound socket, and connect each client to the socket that `dial` returns."""
        self._server = await asyncio.start_server(self._connect, sock=sock)

    def close(self) -> None:
        """Stop listening, and disconnect all clients."""
        self._server.close()
        for client in list(self._clients):
            client.cancel()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a stream's callback runs in one
        self._clients.add(task)
        try:
            await self._serve(reader, writer)
        finally:
            self._clients.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            try:
                inside = await asyncio.open_connection(sock=await self._dial())
            except OSError:
                if self._http:
                    # Read the request first: closing with unread bytes would reset the connection.
                    await reader.read(_CHUNK)
                    writer.write(_BAD_GATEWAY)
                    await writer.drain()
                return
            await join((reader, writer), inside)


async def join(one: Ends, other: Ends) -> None:
    """Copy both ways until both have ended; each direction ends by itself."""
    with contextlib.closing(one[1]), contextlib.closing(other[1]):
        await asyncio.gather(_pump(one[0], other[1]), _pump(other[0], one[1]))


async def _pump(source: Source, sink: Sink) -> None:
    """Copy until the source ends, then half-close the sink."""
    while data := await source.read(_CHUNK):
        sink.write(data)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()
