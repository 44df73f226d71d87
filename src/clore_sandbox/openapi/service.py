"""The ten calls of the imitated API in OpenAPI, after service.md sections 1 and 3.

A success is 200. A refusal is 200 with code 6 in most cases; some have other statuses, as observed
or documented. The `reference` dialect answers 200 to everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from clore_sandbox.openapi.requests import CREATE_ORDER, SET_SERVER_SETTINGS, coin_price, order_id
from clore_sandbox.openapi.shapes import ref
from clore_sandbox.rules import ErrorName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clore_sandbox.values.json_types import JsonObject

__all__ = ["RESPONSES", "paths"]

_CODE = {"type": "integer", "minimum": 1, "maximum": 6}


def _json(description: str, schema: JsonObject) -> JsonObject:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _code(description: str, code: int) -> JsonObject:
    schema: JsonObject = {
        "type": "object",
        "required": ["code"],
        "properties": {"code": {"const": code}},
        "additionalProperties": False,
    }
    return _json(description, schema)


RESPONSES: JsonObject = {
    "BadInput": _code("The request is not of the documented shape.", 2),
    "BadKey": _code("No key, or an unknown one.", 3),
    "TooLarge": _code("The body is longer than a megabyte.", 2),
    "RateLimited": _code("Less than a second after the key's last call; without Retry-After.", 5),
    "Broken": _json(
        "Database error (code 1); the call may have been carried out. Or `currency-not-allowed`,"
        " which has this status.",
        {
            "type": "object",
            "required": ["code"],
            "properties": {
                "code": {"enum": [1, 6]},
                "error": {"const": "currency-not-allowed"},
            },
            "additionalProperties": False,
        },
    ),
}
"""The failures that calls have in common."""

_FAILED: JsonObject = {
    "type": "object",
    "required": ["code"],
    "properties": {
        "code": _CODE,
        "error": {"type": "string", "enum": list(get_args(ErrorName))},
        "message": {"type": "string", "description": "The same, in the reference dialect."},
        "status": {"type": "string"},
        "time_to_lowering": {"type": "number", "description": "Seconds."},
        "max_step": {"type": "number"},
    },
}


def _success(**properties: object) -> JsonObject:
    return {
        "type": "object",
        "required": [*properties, "code"],
        "properties": {**properties, "code": {"const": 0}},
    }


def _call(
    method: str,
    name: str,
    summary: str,
    schema: JsonObject,
    *,
    tag: str = "renter",
    parameters: Sequence[JsonObject] = (),
    body: JsonObject | None = None,
    fails: Sequence[str] = (),
    public: bool = False,
) -> tuple[str, JsonObject]:
    """Path and operation; `fails` names further ones of `RESPONSES`."""
    either: JsonObject = {"anyOf": [schema, _FAILED]}
    responses: JsonObject = {"200": _json("Done, or refused for the reason in `error`.", either)}
    failures = ["RateLimited", *([] if public else ["BadKey"]), *fails]
    failures += ["BadInput"] if parameters or body else []
    failures += ["TooLarge"] if body else []
    for failure in failures:
        responses[_STATUS[failure]] = {"$ref": f"#/components/responses/{failure}"}
    operation: JsonObject = {"operationId": name, "tags": [tag], "summary": summary}
    if public:
        operation["security"] = [{}, {"key": []}]
    if parameters:
        operation["parameters"] = list(parameters)
    if body:
        content = {"application/json": {"schema": body}}
        operation["requestBody"] = {"required": True, "content": content}
    operation["responses"] = dict(sorted(responses.items()))
    return f"/v1/{name}", {method: operation}


_STATUS = {
    "BadInput": "400",
    "BadKey": "401",
    "TooLarge": "413",
    "RateLimited": "429",
    "Broken": "500",
}


def _rows(name: str) -> JsonObject:
    return {"type": "array", "items": ref(name)}


def _body(*required: str, **properties: object) -> JsonObject:
    return {"type": "object", "required": list(required), "properties": properties}


_LIMIT: JsonObject = {"type": "integer"}
_ISSUE: JsonObject = {
    "type": ["string", "null"],
    "description": "What was wrong with the server, up to 2,048 characters.",
}
_COMPLETED: JsonObject = {
    "name": "return_completed",
    "in": "query",
    "description": "`true`: include ended orders.",
    "schema": {"type": "string", "examples": ["true"]},
}
_MARKET: JsonObject = {
    "name": "market",
    "in": "query",
    "required": True,
    "description": "The server's number.",
    "schema": {"type": "integer", "minimum": 0, "maximum": 10**18 - 1},
}
_BOOL: JsonObject = {"type": "boolean"}


def _renting() -> tuple[tuple[str, JsonObject], ...]:
    return (
        _call("get", "wallets", "The account's wallets", _success(wallets=_rows("Wallet"))),
        _call(
            "get",
            "marketplace",
            "All servers, rented ones included; needs no key",
            _success(
                servers=_rows("Server"),
                my_servers={"type": "array", "items": {"type": "integer"}},
            ),
            public=True,
        ),
        _call(
            "get",
            "my_orders",
            "The account's orders",
            _success(orders=_rows("Order"), limit=_LIMIT),
            parameters=[_COMPLETED],
        ),
        _call(
            "post",
            "create_order",
            'Rent a server on demand, or bid for it; the answer is exactly {"code":0}, with no id',
            _success(),
            body=CREATE_ORDER,
            fails=["Broken"],
        ),
        _call(
            "post",
            "cancel_order",
            "End an order",
            _success(),
            body=_body("id", id=order_id(), issue=_ISSUE),
        ),
        _call(
            "get",
            "spot_marketplace",
            "The offers for one server",
            _success(market=ref("SpotMarket"), exists=_BOOL),
            parameters=[_MARKET],
        ),
        _call(
            "post",
            "set_spot_price",
            "Change a bid; it can be lowered once in 600 seconds, by at most `max_step`",
            _success(),
            body=_body(
                "order_id", "desired_price", order_id=order_id(), desired_price=coin_price()
            ),
        ),
    )


def _hosting() -> tuple[tuple[str, JsonObject], ...]:
    return (
        _call(
            "get",
            "my_servers",
            "The servers that the account hosts",
            _success(servers=_rows("HostedServer"), limit=_LIMIT),
            tag="host",
        ),
        _call(
            "get",
            "server_config",
            "A server's settings; a GET with a body, as on the service",
            _success(config=ref("ServerConfig"), creation_completed=_BOOL),
            tag="host",
            body=_body("server_name", server_name={"type": "string"}),
        ),
        _call(
            "post",
            "set_server_settings",
            "Change a server's prices and limits; all settings are sent together",
            _success(),
            tag="host",
            body=SET_SERVER_SETTINGS,
        ),
    )


def paths() -> JsonObject:
    """Path → method → operation, for everything below `/v1`."""
    return dict((*_renting(), *_hosting()))
