"""The HTTP server beneath the app: uvicorn with two additions, and a thread to run it in.

The additions: the app may cut a connection (a fault it imitates), and what is not HTTP gets the
envelope too, never a page or plain text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from clore_sandbox.answers import BAD_INPUT

if TYPE_CHECKING:
    import asyncio

    from starlette.types import ASGIApp, Message, Receive, Scope

__all__ = ["cut", "make_server"]

_TRANSPORT = "clore_sandbox.transport"


class _Protocol(HttpToolsProtocol):
    """Gives each request a handle on its connection."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        # ASGI lets servers add keys of their own below `extensions`.
        self.scope["extensions"] = {_TRANSPORT: {"transport": self.transport}}

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's; its words are not ours
        body = BAD_INPUT.to_bytes()
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"content-length: " + str(len(body)).encode() + b"\r\n\r\n" + body
        )
        self.transport.close()


async def cut(scope: Scope, receive: Receive) -> None:
    """Close the connection without an answer, and wait until it is closed."""
    transport: asyncio.Transport = scope["extensions"][_TRANSPORT]["transport"]
    transport.abort()
    message: Message = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await receive()


def make_server(app: ASGIApp) -> uvicorn.Server:
    """A server for `app`; the caller brings the sockets and the loop."""
    config = uvicorn.Config(
        # Both call it an ASGI app; their types for its messages differ.
        app,  # pyright: ignore[reportArgumentType]
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=2048,
        # Cut what is still being answered rather than wait for it.
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(config)
