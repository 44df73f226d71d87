"""Plain TCP from a public port to the port inside; the HTTP one says 502 while nobody listens.

Bytes are copied, not read: websockets, streaming and uploads pass as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

__all__ = ["forward"]

_CHUNK = 65_536
_BAD_GATEWAY = (
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 52\r\n"
    b"Connection: close\r\n\r\n<html><body><h1>502 Bad Gateway</h1></body></html>\r\n"
)


async def forward(sock: socket.socket, inner_port: int, *, http: bool) -> asyncio.Server:
    """Serve a bound socket by connecting each client to `inner_port` on loopback."""

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            try:
                inside = await asyncio.open_connection("127.0.0.1", inner_port)
            except OSError:
                if http:
                    # Read the request first: closing on unread bytes resets the answer away.
                    await reader.read(_CHUNK)
                    writer.write(_BAD_GATEWAY)
                    await writer.drain()
                return
            with contextlib.closing(inside[1]):
                await asyncio.gather(_pump(reader, inside[1]), _pump(inside[0], writer))

    return await asyncio.start_server(connect, sock=sock)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copy until the source ends, then close the sink's side only."""
    while data := await source.read(_CHUNK):
        sink.write(data)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()
