"""What the controls take and answer, as JSON Schema: parameters that several share, and records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_sandbox.api.endpoints import ENDPOINTS
from clore_sandbox.faults.faults import ORDER_KINDS, REQUEST_KINDS
from clore_sandbox.values import money

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clore_sandbox.values.kinds import JsonObject

__all__ = [
    "AMOUNT",
    "CLOCK",
    "COINS",
    "ENTRY",
    "FAULT",
    "FAULT_FIELDS",
    "KEY",
    "NAME",
    "SERVER",
    "WALLETS",
    "optional",
    "text",
]


def text(**more: object) -> JsonObject:
    """A string."""
    return {"type": "string", **more}


def optional(schema: JsonObject) -> JsonObject:
    """The same, or null."""
    return {**schema, "type": [schema["type"], "null"]}


AMOUNT: JsonObject = {
    "type": ["number", "string"],
    "minimum": 0,
    "maximum": 9_000_000,
    "pattern": r"^[0-9]{1,7}(\.[0-9]{1,12})?$",
    "description": "Coins, up to 12 digits behind the point; as a string exactly.",
}
COINS: JsonObject = {
    "type": "object",
    "description": "Coins by wallet.",
    "properties": dict.fromkeys(money.COINS, AMOUNT),
    "additionalProperties": False,
}
KEY: JsonObject = optional(text(description="An account's API key; null: the first account's."))
WALLETS: JsonObject = {"type": "object", "additionalProperties": text()}
NAME: JsonObject = text(default="MyGPU", minLength=1, maxLength=200)
SERVER: JsonObject = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
FAULT_FIELDS: Mapping[str, JsonObject] = {
    "endpoint": text(
        enum=["*", *dict.fromkeys(name for _, name in ENDPOINTS)],
        description="The endpoint that misbehaves; `*` is any.",
    ),
    "kind": text(enum=[*REQUEST_KINDS, *ORDER_KINDS]),
    "times": {
        "type": ["integer", "null"],
        "minimum": 1,
        "maximum": 1_000_000,
        "default": 1,
        "description": "How often; null: until it is taken back.",
    },
    "key": optional(text(description="Only for the account with this key.")),
    "probability": {"type": "number", "exclusiveMinimum": 0, "maximum": 1, "default": 1},
    "delay_s": {
        "type": ["number", "null"],
        "minimum": 0,
        "maximum": 1_000_000,
        "description": "How late, how long to wait, or when its host goes offline; 2 by default.",
    },
    "fields": {
        "type": "array",
        "items": text(),
        "default": [],
        "description": "Which fields are missing or odd.",
    },
}
FAULT: JsonObject = {
    "type": "object",
    "required": ["id", "endpoint", "kind", "times", "key", "probability", "delay_s", "happened"],
    "properties": {**FAULT_FIELDS, "id": {"type": "integer"}, "happened": {"type": "integer"}},
}
ENTRY: JsonObject = {
    "type": "object",
    "required": ["number", "time", "method", "endpoint", "status", "code", "acted", "order"],
    "properties": {
        "number": {"type": "integer"},
        "time": {"type": "number", "description": "Market time, unix seconds."},
        "method": text(),
        "endpoint": text(),
        "key": optional(text(description="The end of the key.")),
        "query": text(),
        "body": {"type": ["object", "null"], "description": "Without secrets."},
        "status": {"type": ["integer", "null"], "description": "null: no answer was sent."},
        "code": {"type": ["integer", "null"]},
        "error": optional(text()),
        "answer": {"type": ["object", "string", "null"], "description": "Without secrets."},
        "acted": {"type": "boolean", "description": "Whether the call was carried out."},
        "order": {"type": ["integer", "null"], "description": "The order that was created."},
        "fault": optional(text()),
    },
}
CLOCK: Mapping[str, JsonObject] = {
    "now": {"type": "number", "description": "Market time, unix seconds."},
    "speed": {"type": "number"},
    "frozen": {"type": "boolean"},
}
