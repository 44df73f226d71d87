"""The OpenAPI 3.1 document of the imitated API and of the controls.

It is served at `/control/openapi.json` and kept in docs/openapi.json. One test compares the two,
another lets schemathesis call a running marketplace by the document. The API follows service.md,
sections 1 to 3 (service.py, shapes.py); the controls use the schemas by which they are checked.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import orjson

from clore_sandbox.openapi import controls, service
from clore_sandbox.openapi.shapes import SCHEMAS

if TYPE_CHECKING:
    from clore_sandbox.values.json_types import JsonObject

__all__ = ["document", "served"]

_ABOUT = """\
A local Clore.ai marketplace: the same API, real SSH endpoints, no costs.

Every answer is a JSON object with a `code`: 0 done, 1 database error, 2 invalid input, 3 invalid
key, 4 invalid endpoint, 5 rate limit, 6 see `error`. Read the body and its code first, the HTTP
status second: in the `reference` dialect every status is 200. One key may call once a second, and
`create_order` once in 5 seconds. Every price is per **day**, for the whole server, in the named
coin. Requests to `/control` are the marketplace's own, with a key of their own.
"""


def document() -> JsonObject:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Clore.ai marketplace, local",
            "version": "1",
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "The marketplace this document comes from."}],
        "tags": [
            {"name": "renter", "description": "Find, rent, cancel, pay."},
            {"name": "host", "description": "Offer your own servers."},
            {
                "name": "control",
                "description": "Controls of the local marketplace; the service has none.",
            },
        ],
        "security": [{"key": []}],
        "paths": {**service.paths(), **controls.paths()},
        "components": {
            "schemas": SCHEMAS,
            "responses": service.RESPONSES,
            "securitySchemes": {
                "key": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "auth",
                    "description": "An account's API key. Not `Authorization: Bearer`.",
                },
                "controlKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "auth",
                    "description": "The marketplace's control key.",
                },
            },
        },
    }


@cache
def served() -> bytes:
    """The document as JSON."""
    return orjson.dumps(document())
