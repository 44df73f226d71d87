"""The HTTP server beneath the app: its sockets, and uvicorn over connections of our own.

What a client may do on one is connection.py's; here the app may cut one (a fault it imitates).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import uvicorn

from clore_sandbox.http.connection import TRANSPORT, Connection, look_after

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from clore_sandbox.api.answers import Answer

__all__ = ["HttpFront", "cut", "listen", "reply"]

BACKLOG = 2048


async def reply(send: Send, answer: Answer, body: bytes) -> None:
    """Answer a request; `body` is what the answer's `to_bytes` gave."""
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
    """Sockets that listen on one port, for one process each; port 0 is any free one.

    The system shares new connections out among them. Those that wait at a socket are safe for as
    long as somebody has it open, so a process that dies loses only what it was answering.

    Raises:
        OSError: The address is not this machine's, or the port is taken.
    """
    first = _bound(host, port, shared=False)
    if count > 1:
        # Only now: with sharing on from the start, a stranger's port would be shared with them.
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
    """Answers on a listening socket with an app, on the running loop."""

    def __init__(self, app: ASGIApp, sock: socket.socket) -> None:
        self._sock = sock
        self._ticks: asyncio.Future[tuple[None, None]] | None = None
        config = uvicorn.Config(
            # Both call it an ASGI app; their types for its messages differ.
            app,  # pyright: ignore[reportArgumentType]
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,  # the app's own: see date_header.py
            proxy_headers=False,
            backlog=BACKLOG,
            # Cut what is still being answered rather than wait for it.
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when it cannot go on; it always can."""

    async def open(self) -> None:
        """Begin to answer."""
        self._server.config.load()
        self._server.lifespan = self._server.config.lifespan_class(self._server.config)
        await self._server.startup(sockets=[self._sock])
        self._ticks = asyncio.gather(
            self._server.main_loop(),  # keeps uvicorn's own state fresh
            look_after(self._server.server_state.connections),
        )

    async def close(self) -> None:
        """Answer what has begun, for a second at most, and close the socket."""
        if self._ticks is None:
            return
        self._ticks.cancel()
        await asyncio.gather(self._ticks, return_exceptions=True)
        self._ticks = None
        # Closed here, it would go on listening in a process that was forked meanwhile.
        with self._sock.dup() as listener:
            await self._server.shutdown(sockets=[self._sock])
            with contextlib.suppress(OSError):  # it has ended already: another worker's was first
                listener.shutdown(socket.SHUT_RDWR)
