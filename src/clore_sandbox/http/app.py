"""The API over HTTP: checks endpoint, key, rate limit and JSON, then calls the endpoint.

Promises: every answer is a JSON envelope with a `code` (unless a fault changes it), and every
request is in the journal. The order of the checks: an unknown endpoint is 404/4 with or without a
key, an invalid key is 401/3 whatever the body, and a body is read only within the rate limits.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import orjson
from starlette.requests import ClientDisconnect

from clore_sandbox.api import answers
from clore_sandbox.api.answers import Answer
from clore_sandbox.api.endpoints import ENDPOINTS, Outcome, Request
from clore_sandbox.faults import odd_values
from clore_sandbox.faults.faults import BODY_KINDS
from clore_sandbox.faults.journal import Entry, Sent, shown_key, without_secrets
from clore_sandbox.http import body
from clore_sandbox.http.date_header import Dated
from clore_sandbox.http.server import cut, reply
from clore_sandbox.values.json_types import JsonObject, as_object

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from clore_sandbox.api.order_shapes import Dialect
    from clore_sandbox.faults.faults import Fault, Faults
    from clore_sandbox.faults.journal import Journal
    from clore_sandbox.http.gate import Gate
    from clore_sandbox.market import Market

__all__ = ["Api", "make_app"]

log = logging.getLogger("clore_sandbox")

MAX_BODY = 1_000_000
_PUBLIC = "marketplace"
"""The only endpoint that needs no key (service.md section 1)."""

_CDN_403 = Answer(403, b"error code: 1010", "text/plain")
_HTML_502 = Answer(
    502, b"<html><head><title>502 Bad Gateway</title></head><body>502</body></html>", "text/html"
)
_INSTEAD = {
    "500": answers.BROKEN,
    "rate_limited": answers.RATE_LIMITED,
    "cdn_403": _CDN_403,
    "html_502": _HTML_502,
}
"""Faults that answer instead of the endpoint; nothing is done."""


def _instead(fault: Fault | None) -> Answer | None:
    if fault is None:
        return None
    if fault.kind == "retry_after":
        return answers.retry_after(fault.delay_s)
    return _INSTEAD.get(fault.kind)


@dataclass
class Api:
    """Everything below `/v1`, as an ASGI app."""

    market: Market
    faults: Faults
    journal: Journal
    dialect: Dialect
    gate: Gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        call = _Call(self, scope, receive)
        fault = self.faults.for_request(call.endpoint, call.key)
        try:
            answer = await self._answer(call, fault)
        except ClientDisconnect:
            answer = None  # before its request was complete: nothing was done
        body = answer.to_bytes() if answer is not None else b""
        # Before the fault's delay, so that a client that gives up finds the entry.
        call.note(answer, body, fault)
        if answer is not None and fault is not None and fault.kind == "late":
            try:
                await asyncio.sleep(fault.delay_s)
            except asyncio.CancelledError:  # the marketplace stops, and answers nobody any more
                answer = None
        if answer is None:
            await cut(scope, receive)
            return
        await reply(send, answer, body)

    async def _answer(self, call: _Call, fault: Fault | None) -> Answer | None:
        """The answer, changed by the fault; None: cut the connection."""
        kind = fault.kind if fault is not None else None
        if kind == "cut_before":
            return None
        instead = _instead(fault)
        if instead is not None:
            return instead
        if kind in BODY_KINDS:
            call.gzip = False
        try:
            answer = (await call.carry_out()).in_dialect(self.dialect)
        except ClientDisconnect:
            raise
        except Exception:
            log.exception("%s failed", call.endpoint)
            answer = answers.BROKEN.in_dialect(self.dialect)
        if kind == "act_then_cut":
            return None
        if kind == "act_then_500":
            return answers.BROKEN
        if fault is not None and kind in BODY_KINDS:
            return self._worsened(answer, fault)
        return answer

    def _worsened(self, answer: Answer, fault: Fault) -> Answer:
        raw = answer.to_bytes()
        if fault.kind == "truncated_json":
            return Answer(answer.status, raw[: len(raw) // 2])
        fields = as_object(orjson.loads(raw)) or {}
        if fault.kind == "missing_fields":
            return Answer(answer.status, odd_values.without(fields, fault.fields))
        if fault.kind == "missing_rows":
            return Answer(answer.status, odd_values.without_rows(fields, fault.fields))
        return Answer(answer.status, odd_values.odd(fields, fault.fields, self.faults.draw))


class _Call:
    """One request on its way through the checks, and its entry in the journal."""

    def __init__(self, api: Api, scope: Scope, receive: Receive) -> None:
        self._api = api
        self._scope = scope
        self._receive = receive
        self.endpoint: str = scope["path"].removeprefix("/v1/")
        # A header that is sent twice is one value (RFC 9110, 5.3), and no valid key.
        self.key = _header(scope, b"auth") or None
        self.gzip = "gzip" in _header(scope, b"accept-encoding")
        self._arrived_ms = api.market.clock.now_ms()
        self._body: JsonObject | None = None
        self._outcome: Outcome | None = None

    async def carry_out(self) -> Answer:
        """Run the checks, then the call; the first check that fails answers."""
        api = self._api
        call = ENDPOINTS.get((self._scope["method"], self.endpoint))
        if call is None:
            return answers.BAD_ENDPOINT
        account = 0 if self.key is None else await api.gate.account(self.key)
        # On the public endpoint an unknown key counts as no key.
        if not account and self.endpoint != _PUBLIC:
            return answers.BAD_KEY
        if account and not await api.gate.pace.admit(account, self.endpoint, self._arrived_ms):
            return answers.RATE_LIMITED
        refusal = await self._read_body()
        if refusal is not None:
            return refusal
        query = self._scope["query_string"].decode("latin-1")
        request = Request(
            market=api.market,
            dialect=api.dialect,
            account=account,
            query=dict(parse_qsl(query, True)) if query else {},
            body=self._body or {},
            gzip=self.gzip,
            draw_trouble=lambda: api.faults.for_order(self.key),
        )
        self._outcome = await call(request)
        return self._outcome.answer

    async def _read_body(self) -> Answer | None:
        """Read the JSON object, if there is a body; `server_config` is a GET that has one."""
        try:
            raw = await body.read(self._receive, MAX_BODY)
            if raw.strip():
                self._body = body.to_object(raw)
            elif self._scope["method"] != "GET":
                return answers.BAD_INPUT
        except body.TooLarge:
            return answers.TOO_LARGE
        except ValueError:
            return answers.BAD_INPUT
        return None

    def note(self, answer: Answer | None, sent: bytes, fault: Fault | None) -> None:
        """Write the journal's entry; an answer of None is a cut connection."""
        outcome = self._outcome
        readable = answer is not None and "content-encoding" not in answer.headers
        whole = fault is None or fault.kind != "truncated_json"
        self._api.journal.write(
            Entry(
                time=self._arrived_ms / 1000,
                method=self._scope["method"],
                endpoint=self.endpoint,
                key=shown_key(self.key),
                query=self._scope["query_string"].decode("latin-1"),
                body=without_secrets(self._body) if self._body is not None else None,
                status=answer.status if answer is not None else None,
                code=answer.code if answer is not None and whole else None,
                error=answer.error if answer is not None else None,
                acted=outcome is not None and outcome.answer.code == answers.NORMAL,
                order=outcome.order if outcome is not None else None,
                fault=fault.kind if fault is not None else None,
                number=self._api.journal.number(),
                sent=Sent(sent if readable else None),
            )
        )


def _header(scope: Scope, name: bytes) -> str:
    """A header's value; empty if it was not sent."""
    return ", ".join([value.decode("latin-1") for key, value in scope["headers"] if key == name])


def make_app(api: Api, control: ASGIApp) -> ASGIApp:
    """The API below `/v1`, the controls below `/control`, and the envelope everywhere else."""
    nowhere = answers.BAD_ENDPOINT.in_dialect(api.dialect)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path.startswith("/v1/"):
            await api(scope, receive, send)
        elif path.startswith("/control/"):
            await control(scope, receive, send)
        else:
            await reply(send, nowhere, nowhere.to_bytes())

    return Dated(body.AnswerAfterBody(app), api.market.clock)
