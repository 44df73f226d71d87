"""Adds the `Date` header, by the marketplace's clock.

A client that follows the service's clock then sees the same time as orders and bills do, however
fast it runs and wherever it jumped to.
"""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from clore_sandbox.market.clock import Clock

__all__ = ["Dated"]


class Dated:
    """An ASGI app that adds `Date` to answers without one."""

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
                # The keeper's answers, which a worker passes on, have a date.
                if not any(name == b"date" for name, _ in headers):
                    headers.append(self._now())
            await send(message)

        await self._app(scope, receive, dated)

    def _now(self) -> tuple[bytes, bytes]:
        second = self._clock.now_ms() // 1000
        if second != self._second:  # formatting it costs more than the rest of an answer
            self._second = second
            self._header = (b"date", formatdate(second, usegmt=True).encode())
        return self._header
