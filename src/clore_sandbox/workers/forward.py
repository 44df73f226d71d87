"""Forwards an HTTP request from a worker to the keeper and its answer back, as ASGI at both ends.

Promises: the client cannot see which process answered, not even if the connection is cut.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from clore_sandbox.http.connection import TRANSPORT
from clore_sandbox.http.server import cut
from clore_sandbox.workers.messages import HttpAnswer, HttpRequest

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from clore_sandbox.workers.link import Link

__all__ = ["answer", "forward"]

_LONGEST_CONTROL = 256 * 1024 * 1024
"""Longer than any accepted body, of a control and of the API; the keeper refuses what is longer."""
_LONGEST = 2 * 1024 * 1024


async def forward(link: Link, scope: Scope, receive: Receive, send: Send) -> None:
    """Let the keeper answer a request (in the worker)."""
    body = bytearray()
    longest = _LONGEST_CONTROL if scope["path"].startswith("/control") else _LONGEST
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        if len(body) <= longest:
            body += message.get("body", b"")
        more = message.get("more_body", False)
    request = HttpRequest(
        scope["method"],
        scope["path"],
        scope["query_string"],
        list(scope["headers"]),
        bytes(body),
        scope["client"],
    )
    given = cast("HttpAnswer", await link.ask(request))
    if given.status is None:
        await cut(scope, receive)
        return
    await send({"type": "http.response.start", "status": given.status, "headers": given.headers})
    await send({"type": "http.response.body", "body": given.body})


async def answer(app: ASGIApp, request: HttpRequest) -> HttpAnswer:
    """Answer a worker's request with this app (in the keeper)."""
    gone = asyncio.Event()
    parts: list[bytes] = []
    start: Message | None = None
    asked = False

    async def receive() -> Message:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": request.body, "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start":
            start = message
        else:
            parts.append(message.get("body", b""))

    scope: MutableMapping[str, object] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path,
        "raw_path": request.path.encode(),
        "root_path": "",
        "query_string": request.query,
        "headers": request.headers,
        "client": request.client,
        "server": None,
        "extensions": {TRANSPORT: {"transport": _Wire(gone)}},
    }
    await app(scope, receive, send)
    if gone.is_set() or start is None:
        return HttpAnswer(None, [], b"")
    return HttpAnswer(start["status"], list(start["headers"]), b"".join(parts))


class _Wire:
    """The part of a transport that `cut` needs."""

    def __init__(self, gone: asyncio.Event) -> None:
        self._gone = gone

    def abort(self) -> None:
        self._gone.set()
