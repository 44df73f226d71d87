"""The `Date` of every answer, by the marketplace's own clock.

A client that goes by the service's clock then sees the time that orders and bills go by, however
fast it runs and wherever it was jumped to.
"""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from clore_sandbox.market.clock import Clock

__all__ = ["Dated"]


class Dated:
    """An ASGI app whose answers say when they were sent; what has a date already keeps it."""

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock
        self._second = -1
        self._header = (b"date", b"")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""

        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                # A worker hands on an answer of the keeper's, which is dated.
                if not any(name == b"date" for name, _ in headers):
                    headers.append(self._now())
            await send(message)

        await self._app(scope, receive, dated)

    def _now(self) -> tuple[bytes, bytes]:
        second = self._clock.now_ms() // 1000
        if second != self._second:  # writing it out costs more than the rest of an answer
            self._second = second
            self._header = (b"date", formatdate(second, usegmt=True).encode())
        return self._header
