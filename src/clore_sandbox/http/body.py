"""Reads request bodies: JSON objects of limited length and depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from starlette.requests import ClientDisconnect

from clore_sandbox.values.json_types import as_list, as_object

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from clore_sandbox.values.json_types import JsonObject

__all__ = ["DEEPEST", "AnswerAfterBody", "TooLarge", "read", "to_object"]

DEEPEST = 100
"""Most levels of nested objects and lists. orjson writes up to 254; the API's bodies need five."""


class TooLarge(ValueError):  # noqa: N818 - a state of the body
    """The body is longer than allowed."""


async def read(receive: Receive, longest: int) -> bytes:
    """The body of a request.

    Raises:
        TooLarge: It has more than `longest` bytes; the rest is not read.
        ClientDisconnect: The client closed the connection before its end.
    """
    raw = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        raw += message.get("body", b"")
        if len(raw) > longest:
            raise TooLarge(f"the body has more than {longest} bytes")
        more = message.get("more_body", False)
    return bytes(raw)


def to_object(raw: bytes) -> JsonObject:
    """Parse a body as a JSON object.

    Raises:
        ValueError: It is not one, or nested too deeply.
    """
    try:
        value: object = orjson.loads(raw)
    except ValueError as exc:
        raise ValueError(f"the body is not JSON: {exc}") from exc
    given = as_object(value)
    if given is None:
        raise ValueError("the body must be a JSON object")
    level = _inside(given.values())
    for _ in range(DEEPEST):
        if not level:
            return given
        level = [inner for each in level for inner in _inside(each)]
    raise ValueError(f"the body is nested more than {DEEPEST} levels deep")


def _inside(values: Iterable[object]) -> list[Iterable[object]]:
    """The values of each object and each list among these."""
    inside: list[Iterable[object]] = []
    for value in values:
        fields, items = as_object(value), as_list(value)
        if fields is not None:
            inside.append(fields.values())
        elif items is not None:
            inside.append(items)
    return inside


class AnswerAfterBody:
    """An ASGI app that answers only after the client has sent its whole request.

    A client that is still sending would get a connection reset instead of the answer. One that
    waits for `100 Continue` sends nothing, and is answered at once.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        more = scope["type"] == "http" and b"expect" not in [name for name, _ in scope["headers"]]

        async def receive_noting_end() -> Message:
            nonlocal more
            message = await receive()
            more = message.get("more_body", False)
            return message

        async def send_after_body(message: Message) -> None:
            while more:
                await receive_noting_end()
            await send(message)

        await self._app(scope, receive_noting_end, send_after_body)
