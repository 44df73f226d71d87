"""The HTTP server: its sockets, and uvicorn with the connections of connection.py.

The app can cut a connection, for the faults that do so.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import uvicorn

from clore_sandbox.http.connection import TRANSPORT, Connection, watch

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from clore_sandbox.api.answers import Answer

__all__ = ["HttpFront", "cut", "listen", "reply"]

BACKLOG = 2048


async def reply(send: Send, answer: Answer, body: bytes) -> None:
    """Send an answer; `body` is the result of its `to_bytes`."""
    kind = answer.media_type
    if kind.startswith("text/"):
        kind += "; charset=utf-8"
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", kind.encode())]
    headers += [(name.encode(), value.encode()) for name, value in answer.headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def cut(scope: Scope, receive: Receive) -> None:
    """Close the connection without an answer, and wait until it is closed."""
    transport: asyncio.Transport = scope["extensions"][TRANSPORT]["transport"]
    transport.abort()
    message: Message = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await receive()


def listen(host: str, port: int, *, count: int = 1) -> list[socket.socket]:
    """Sockets that listen on one port, one for each process; port 0 is any free port.

    The system distributes new connections among them. Connections wait at a socket as long as any
    process has it open, so a process that dies loses only the requests it was answering.

    Raises:
        OSError: The address is not this machine's, or the port is taken.
    """
    first = _bound(host, port, shared=False)
    if count > 1:
        # Not before: with sharing from the start, another program's port might be shared.
        port = first.getsockname()[1]
        first.close()
    sockets = [first] if count == 1 else []
    try:
        while len(sockets) < count:
            sockets.append(_bound(host, port, shared=True))
        for sock in sockets:
            sock.listen(BACKLOG)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock


class HttpFront:
    """Serves an app on a listening socket, on the running loop."""

    def __init__(self, app: ASGIApp, sock: socket.socket) -> None:
        self._sock = sock
        self._ticks: asyncio.Future[tuple[None, None]] | None = None
        config = uvicorn.Config(
            # Starlette and uvicorn type the messages of an ASGI app differently.
            app,  # pyright: ignore[reportArgumentType]
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,  # the app sets it: see date_header.py
            proxy_headers=False,
            backlog=BACKLOG,
            # Cut answers that take longer than that.
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done if it cannot go on, which never happens here."""

    async def open(self) -> None:
        """Begin to answer."""
        self._server.config.load()
        self._server.lifespan = self._server.config.lifespan_class(self._server.config)
        await self._server.startup(sockets=[self._sock])
        self._ticks = asyncio.gather(
            self._server.main_loop(),  # keeps uvicorn's state up to date
            watch(self._server.server_state.connections),
        )

    async def close(self) -> None:
        """Finish the answers that have begun, for a second at most, and close the socket."""
        if self._ticks is None:
            return
        self._ticks.cancel()
        await asyncio.gather(self._ticks, return_exceptions=True)
        self._ticks = None
        # Closing is not enough: a process that was forked meanwhile would go on listening.
        with self._sock.dup() as listener:
            await self._server.shutdown(sockets=[self._sock])
            with contextlib.suppress(OSError):  # another worker has already shut it down
                listener.shutdown(socket.SHUT_RDWR)
