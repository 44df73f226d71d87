"""One client's connection: limits on what it may send, and on how long it may take.

Promises: input that is not HTTP is answered with the JSON envelope, after the requests before it.
The head of a request is limited in length. A client that stops half-way through a request, or does
not read its answer, is disconnected, so that such clients cannot block others. Errors of clients
are answered and not logged: the log is for our own.
"""

from __future__ import annotations

import asyncio
import http
import logging
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from clore_sandbox.api.answers import BAD_INPUT

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LONGEST_HEAD", "PATIENCE_S", "TRANSPORT", "Connection", "watch"]

TRANSPORT = "clore_sandbox.transport"
"""Where an app finds its connection, among the scope's extensions."""

LONGEST_HEAD = 65_536
"""Bytes of a request's first line and headers; Node's servers allow 16 KiB."""
PATIENCE_S = 10.0
"""Time for a request to be complete, and for a client to read some of a pending answer."""
_SLOWEST_BYTES_PER_S = 50_000
"""A long body gets more time at this rate."""
_CHECK_EVERY_S = 1.0

log = logging.getLogger("clore_sandbox.http.connection")
log.setLevel(logging.ERROR)  # uvicorn warns of each client that does not speak HTTP


class Connection(HttpToolsProtocol):
    """Uvicorn's connection, with limits on the time and the head of a request, which it lacks."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn's own
        super().connection_made(transport)
        self.logger = log
        self._refusal: int | None = None
        self._refused_s: float | None = None
        self._has_ended = False
        self._running: RequestResponseCycle | None = None
        """The request that is being answered; `cycle` is the newest, perhaps in the pipeline."""
        self._unsent, self._moved_s = 0, self.loop.time()
        self._await_request()

    def _await_request(self) -> None:
        self._since_s: float | None = self.loop.time()
        """When the awaited request began; None between requests, a time that uvicorn limits."""
        self._received = 0
        self._begun, self._in_head = False, True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._running is not None:  # uvicorn notifies only the newest
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    # -- input --------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        if self._since_s is None:
            self._await_request()
        self._received += len(data)
        super().data_received(data)
        if self._since_s is not None and self._in_head and self._received > LONGEST_HEAD:
            self._refuse(431)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        # ASGI lets servers add their own keys to `extensions`.
        self.scope["extensions"] = {TRANSPORT: {"transport": self.transport}}
        self._await_request()
        self._begun = True

    def on_headers_complete(self) -> None:
        head = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if head > LONGEST_HEAD:
            self._refuse(431)
            raise _HeadTooLongError
        super().on_headers_complete()
        self._in_head = False
        if not self.pipeline:
            self._running = self.cycle
        if self.parser.should_upgrade():  # pyright: ignore[reportOptionalMemberAccess] - not in a callback of it
            # What follows is no longer HTTP: this is the connection's last answer.
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._since_s, self._in_head = None, True

    def eof_received(self) -> bool | None:  # type: ignore[override] # asyncio's own; uvicorn's is None
        # Complete requests are answered: the client may have closed its own side only.
        self._has_ended = self._answering()
        return self._has_ended

    def _answering(self) -> bool:
        """Whether a complete request has not been answered yet."""
        return self._running is not None and (self._in_head or self._running is not self.cycle)

    # -- refusals -----------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's message, which is not sent
        self._refuse(400)

    def _refuse(self, status: int) -> None:
        """Answer with this status and close, after the answers to earlier requests."""
        if self._refusal is not None or self.transport.is_closing():
            return
        self._refusal, self._since_s = status, None
        if self._answering():
            if not self._in_head:
                self.pipeline.popleft()  # the request with the refused body
        else:
            self._send_refusal()

    def on_response_complete(self) -> None:
        self._running = self.pipeline[-1][0] if self.pipeline else None
        last = self._running is None
        super().on_response_complete()
        if last and self._refusal is not None:
            self._send_refusal()
        elif last and self._has_ended:
            self.transport.close()

    def _send_refusal(self) -> None:
        if self.transport.is_closing() or self._refusal is None:
            return
        begun = False
        if not self._in_head:
            # The app must neither wait for the rest of the request, nor write any more.
            self.cycle.disconnected, self.cycle.waiting_for_100_continue = True, False
            self.cycle.message_event.set()
            begun = self.cycle.response_started
        if not begun:
            body = BAD_INPUT.to_bytes()
            reason = http.HTTPStatus(self._refusal).phrase
            self.transport.write(
                f"HTTP/1.1 {self._refusal} {reason}\r\ncontent-type: application/json\r\n"
                f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode()
                + body
            )
        # If it were closed now, a client that is still sending would see a reset, not the answer.
        self.transport.write_eof()
        self._refused_s = self.loop.time()

    def shutdown(self) -> None:
        if self._in_head or self.pipeline:
            super().shutdown()
        else:
            self.transport.close()  # the rest of its request would not be read

    # -- time limits --------------------------------------------------------------------------

    def check(self, now_s: float) -> None:
        """Disconnect the client if it has taken too long."""
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent != self._unsent:
            self._unsent, self._moved_s = unsent, now_s
        elif now_s - self._moved_s > PATIENCE_S:
            self.transport.abort()
            return
        if self._refused_s is not None and now_s - self._refused_s > _CHECK_EVERY_S:
            self.transport.close()
        if self._since_s is None:
            return
        if self.flow.read_paused:
            self._since_s = now_s  # the client waits for us
        elif now_s - self._since_s > PATIENCE_S + self._received / _SLOWEST_BYTES_PER_S:
            if self._begun:
                self._refuse(408)
            else:
                self.transport.close()


class _HeadTooLongError(ValueError):
    """Stops the parser; the client has been answered."""


async def watch(connections: Iterable[object]) -> None:
    """Check all connections at intervals, forever."""
    while True:
        await asyncio.sleep(_CHECK_EVERY_S)
        now_s = asyncio.get_running_loop().time()
        for connection in list(connections):
            if isinstance(connection, Connection):
                connection.check(now_s)
