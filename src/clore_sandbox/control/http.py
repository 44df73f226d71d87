"""`/control/NAME`: the controls over HTTP, with their own key, as JSON in the API's envelope.

    curl -H "auth: $CLORE_CONTROL_KEY" -d '{"seconds": 86400}' $CLORE_CONTROL_URL/jump

The key is not an account's, so that a client under test cannot reach the controls by accident.
Errors give their reason in `error`, unlike the service's. `health` and `openapi.json` need no key.
guard.py protects against web pages and guesses of the key.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest

from clore_sandbox.api.answers import (
    BAD_ENDPOINT,
    BAD_KEY,
    BROKEN,
    INVALID_INPUT,
    SEE_ERROR,
    Answer,
)
from clore_sandbox.api.answers import success as answer_with
from clore_sandbox.control import OPERATIONS, Conflict
from clore_sandbox.http import body
from clore_sandbox.http.server import cut, reply
from clore_sandbox.values.json_schema import check_fields, from_query
from clore_sandbox.values.json_types import as_int, as_list

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    from clore_sandbox.control import Control, Operation
    from clore_sandbox.control.guard import Guesses, Names
    from clore_sandbox.values.json_types import JsonObject

__all__ = ["ControlApi"]

log = logging.getLogger("clore_sandbox")


@dataclass
class ControlApi:
    """Everything below `/control`, as an ASGI app.

    `instance` names this marketplace; `document` makes its OpenAPI document.
    """

    control: Control
    guesses: Guesses
    names: Names
    instance: str
    document: Callable[[], bytes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        http = HttpRequest(scope, receive)
        try:
            answer = await self._answer(http)
        except (ClientDisconnect, asyncio.CancelledError):  # the latter as the marketplace stops
            await cut(scope, receive)
            return
        await reply(send, answer, answer.to_bytes())

    async def _answer(self, http: HttpRequest) -> Answer:
        name = http.scope["path"].removeprefix("/control").removeprefix("/")
        refusal = self.names.refusal(http.headers)
        if name in _OPEN:
            known = _OPEN[name](self) if http.method == "GET" else _other_method(name, "GET")
            return refusal or known
        operation = OPERATIONS.get(name)
        if operation is None:
            return BAD_ENDPOINT
        if not await self._may(http):
            return BAD_KEY
        if refusal is not None or http.method != operation.method:
            return refusal or _other_method(name, operation.method)
        try:
            return await self._carry_out(http, operation)
        except ClientDisconnect:
            raise
        except Exception:
            log.exception("control %s failed", name)
            return BROKEN

    async def _may(self, http: HttpRequest) -> bool:
        key = http.headers.get("auth")
        address = http.client.host if http.client is not None else ""
        return key is not None and await self.guesses.right(key, address)

    async def _carry_out(self, http: HttpRequest, operation: Operation) -> Answer:
        try:
            given = await _given(http, operation)
            return answer_with(**await operation.call(self.control, given))
        except body.TooLarge as exc:
            return _refused(413, INVALID_INPUT, exc)
        except Conflict as exc:
            return _refused(409, SEE_ERROR, exc)
        except ValueError as exc:
            return _refused(400, INVALID_INPUT, exc)
        except KeyError as exc:
            return _refused(404, SEE_ERROR, exc)

    def health(self) -> Answer:
        """The id of this marketplace, by which daemon.py knows it again."""
        return answer_with(instance=self.instance)

    def describe(self) -> Answer:
        """The OpenAPI document, made on the first request: few clients need it."""
        return Answer(200, self.document())


_OPEN = {"health": ControlApi.health, "openapi.json": ControlApi.describe}
"""Operations that need no key."""


def _other_method(name: str, method: str) -> Answer:
    fields: JsonObject = {"error": f"{name} needs the method {method}", "code": 4}
    return Answer(405, fields, headers={"allow": method})


def _refused(status: int, code: int, exc: Exception) -> Answer:
    return Answer(status, {"error": str(exc.args[0] if exc.args else exc), "code": code})


async def _given(http: HttpRequest, operation: Operation) -> JsonObject:
    """The checked parameters: a GET has them in the query, a POST in a JSON body."""
    raw = await body.read(http.receive, operation.max_body)
    if operation.method == "GET":
        known = operation.params
        given = {n: from_query(t, known.get(n, {"type": ""})) for n, t in http.query_params.items()}
    else:
        given = body.to_object(raw) if raw.strip() else {}
    check_fields(given, operation.params, operation.name)
    missing = [name for name in operation.required if name not in given]
    if missing:
        raise ValueError(f"{operation.name} needs {', '.join(missing)}")
    return {name: _whole(value, operation.params[name]) for name, value in given.items()}


def _whole(value: object, schema: JsonObject) -> object:
    """5.0 as 5 for a parameter that is a whole number."""
    whole = as_int(value) if "integer" in (as_list(schema["type"]) or [schema["type"]]) else None
    return value if whole is None else whole
