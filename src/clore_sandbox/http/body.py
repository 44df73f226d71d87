"""A request's body: bounded in length and depth, and a JSON object or refused in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from starlette.requests import ClientDisconnect

from clore_sandbox.values.json_types import as_list, as_object

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from clore_sandbox.values.json_types import JsonObject

__all__ = ["DEEPEST", "HeardOut", "TooLarge", "read", "to_object"]

DEEPEST = 100
"""Levels of objects and lists in one another: what is read must be written again (by orjson up to
254), and none of the API's is deeper than five."""


class TooLarge(ValueError):  # noqa: N818 - a state of the body, and said in words
    """A body beyond what is taken."""


async def read(receive: Receive, longest: int) -> bytes:
    """The body of a request.

    Raises:
        TooLarge: It has more than `longest` bytes; no more than that is kept of it.
        ClientDisconnect: The client is gone before its end.
    """
    raw = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        raw += message.get("body", b"")
        if len(raw) > longest:
            raise TooLarge(f"a body of more than {longest} bytes")
        more = message.get("more_body", False)
    return bytes(raw)


def to_object(raw: bytes) -> JsonObject:
    """The JSON object that a body is.

    Raises:
        ValueError: It is none, or too deep.
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


class HeardOut:
    """Begins an answer only when the client has sent all of its request.

    One that is still sending would not see the answer: the connection would be reset first. A
    client that waits to be told to go on (`Expect: 100-continue`) sends nothing, and is answered.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        more = scope["type"] == "http" and b"expect" not in [name for name, _ in scope["headers"]]

        async def hear() -> Message:
            nonlocal more
            message = await receive()
            more = message.get("more_body", False)
            return message

        async def say(message: Message) -> None:
            while more:
                await hear()
            await send(message)

        await self._app(scope, hear, say)
