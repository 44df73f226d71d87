"""The controls in OpenAPI, from the schemas by which they are checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_sandbox.control import OPERATIONS

if TYPE_CHECKING:
    from clore_sandbox.control import Operation
    from clore_sandbox.values.json_types import JsonObject

__all__ = ["paths"]


def _answer(description: str, code: int, **properties: object) -> JsonObject:
    schema: JsonObject = {
        "type": "object",
        "required": [*properties, "code"],
        "properties": {**properties, "code": {"const": code}},
    }
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _responses(operation: Operation) -> JsonObject:
    responses: JsonObject = {
        "200": _answer("Done.", 0, **operation.result),
        "400": _answer("A parameter is invalid; nothing was changed.", 2, error=_TEXT),
        "401": {"$ref": "#/components/responses/BadKey"},
        "403": _STRANGE,
    }
    if operation.method == "POST":
        responses["413"] = _answer("The body is too long.", 2, error=_TEXT)
    if operation.name in ("create_account", "rotate_key", "top_up", "add_server"):
        responses["409"] = _answer(
            "The request conflicts with the marketplace's state.", 6, error=_TEXT
        )
    if {"key", "old_key", "owner_key", "server_id", "fault_id"} & set(operation.params):
        responses["404"] = _answer("No such account, server or fault.", 6, error=_TEXT)
    return dict(sorted(responses.items()))


_TEXT: JsonObject = {"type": "string"}
_STRANGE = _answer("The Host is unknown, or the Origin is another one.", 6, error=_TEXT)


def _operation(operation: Operation) -> JsonObject:
    described: JsonObject = {
        "operationId": f"control_{operation.name}",
        "tags": ["control"],
        "summary": operation.summary,
        "security": [{"controlKey": []}],
        "responses": _responses(operation),
    }
    if operation.method == "GET":
        if operation.params:
            described["parameters"] = [
                {"name": name, "in": "query", "schema": schema}
                for name, schema in operation.params.items()
            ]
    elif operation.params:
        schema: JsonObject = {
            "type": "object",
            "properties": dict(operation.params),
            "required": list(operation.required),
            "additionalProperties": False,
        }
        described["requestBody"] = {
            "required": bool(operation.required),
            "content": {"application/json": {"schema": schema}},
        }
    return described


def paths() -> JsonObject:
    """Path → method → operation, for everything below `/control`."""
    found: JsonObject = {
        f"/control/{operation.name}": {operation.method.lower(): _operation(operation)}
        for operation in OPERATIONS.values()
    }
    found["/control/health"] = {
        "get": {
            "operationId": "control_health",
            "tags": ["control"],
            "summary": "The id of this marketplace",
            "security": [],
            "responses": {
                "200": _answer("The marketplace runs.", 0, instance=_TEXT),
                "403": _STRANGE,
            },
        }
    }
    found["/control/openapi.json"] = {
        "get": {
            "operationId": "control_openapi",
            "tags": ["control"],
            "summary": "This document",
            "security": [],
            "responses": {
                "200": {
                    "description": "OpenAPI 3.1.",
                    "content": {"application/json": {"schema": {"type": "object"}}},
                },
                "403": _STRANGE,
            },
        }
    }
    return found
