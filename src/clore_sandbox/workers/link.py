"""A message link between the keeper and one of its workers.

Promises: messages arrive whole and in order, and every question gets an answer or `Gone`. Both ends
are this package's (a socket pair, inherited at the start), so that messages may be pickled.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import pickle
import struct
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

__all__ = ["Failed", "Gone", "Link", "connect"]

log = logging.getLogger("clore_sandbox")

_LENGTH = struct.Struct("!I")
_SENT, _ASKED, _ANSWERED, _FAILED = range(4)


class Gone(ConnectionError):  # noqa: N818 - a state
    """The process at the other end has ended."""


class Failed(RuntimeError):  # noqa: N818 - a state
    """The other end raised an exception instead of answering."""


class Link(asyncio.Protocol):
    """One end.

    Args:
        answer: Answers a question; each runs in its own task, started in the order of arrival.
        take: Takes a message without an answer, before any later message is read.
    """

    def __init__(
        self, answer: Callable[[object], Awaitable[object]], take: Callable[[object], None]
    ) -> None:
        self._answer = answer
        self._take = take
        self._transport: asyncio.WriteTransport | None = None
        self._buffer = bytearray()
        self._unsent: list[tuple[int, int, object]] = []
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[object]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def send(self, message: object) -> None:
        """Send a message without an answer; lost if the other end is gone."""
        self._send(_SENT, 0, message)

    async def ask(self, message: object) -> object:
        """Send, and wait for the answer.

        Raises:
            Gone: The other end went before it answered.
            Failed: It could not; the message is its exception's.
        """
        return await self.asking(message)

    def asking(self, message: object) -> asyncio.Future[object]:
        """Send now; the future is the answer."""
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if self.gone.done():
            answer.set_exception(Gone("the other process is gone"))
            return answer
        number = next(self._numbers)
        self._asked[number] = answer
        answer.add_done_callback(lambda _: self._asked.pop(number, None))
        self._send(_ASKED, number, message)
        return answer

    def _send(self, kind: int, number: int, message: object) -> None:
        # Messages of one turn of the loop are sent together, which is much cheaper than one by one.
        self._unsent.append((kind, number, message))
        if len(self._unsent) == 1:
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Send pending messages now."""
        unsent, self._unsent = self._unsent, []
        if unsent and self._transport is not None and not self._transport.is_closing():
            data = pickle.dumps(unsent, pickle.HIGHEST_PROTOCOL)
            self._transport.write(_LENGTH.pack(len(data)) + data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is up (called by asyncio)."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Some bytes have arrived (called by asyncio)."""
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, start)
            end = start + _LENGTH.size + length
            if len(buffer) < end:
                break
            with memoryview(buffer) as view:
                messages = pickle.loads(view[start + _LENGTH.size : end])  # noqa: S301 - this package's, see above
            start = end
            for message in messages:
                self._receive(*message)
        del buffer[:start]

    def _receive(self, kind: int, number: int, message: object) -> None:
        if kind == _SENT:
            self._take(message)
        elif kind == _ASKED:
            task = asyncio.ensure_future(self._reply(number, message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            waiting = self._asked.get(number)
            if waiting is None or waiting.done():
                return
            if kind == _ANSWERED:
                waiting.set_result(message)
            else:
                waiting.set_exception(Failed(str(message)))

    async def _reply(self, number: int, message: object) -> None:
        try:
            answer = await self._answer(message)
        except Exception as exc:
            log.exception("%s could not be answered", type(message).__name__)
            self._send(_FAILED, number, f"{type(exc).__name__}: {exc}")
        else:
            self._send(_ANSWERED, number, answer)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """The other end is gone (called by asyncio)."""
        for waiting in list(self._asked.values()):
            if not waiting.done():
                waiting.set_exception(Gone("the other process is gone"))
        if not self.gone.done():
            self.gone.set_result(None)

    def close(self) -> None:
        """Send pending messages and close."""
        self.flush()
        if self._transport is not None:
            self._transport.close()


async def connect(
    sock: socket.socket,
    answer: Callable[[object], Awaitable[object]],
    take: Callable[[object], None],
) -> Link:
    """One end, over a connected socket."""
    loop = asyncio.get_running_loop()
    _, link = await loop.create_unix_connection(lambda: Link(answer, take), sock=sock)
    return link
