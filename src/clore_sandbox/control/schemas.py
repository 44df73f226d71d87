"""What the controls take and answer, as JSON Schema: parameters by name, and records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_sandbox.api.endpoints import ENDPOINTS
from clore_sandbox.faults.faults import ORDER_KINDS, REQUEST_KINDS
from clore_sandbox.market.clock import MAX_SPEED
from clore_sandbox.values.money import COINS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clore_sandbox.values.json_types import JsonObject

__all__ = ["ACCOUNT", "CLOCK", "ENTRY", "FAULT", "FAULT_FIELDS", "PARAMETERS", "WALLETS", "text"]


def text(**more: object) -> JsonObject:
    """A string."""
    return {"type": "string", **more}


def _optional(schema: JsonObject) -> JsonObject:
    """The same, or null."""
    return {**schema, "type": [schema["type"], "null"]}


_AMOUNT: JsonObject = {
    "type": ["number", "string"],
    "minimum": 0,
    "maximum": 9_000_000,
    "pattern": r"^[0-9]{1,7}(\.[0-9]{1,12})?$",
    "description": "Coins, up to 12 decimal places; send a string to be exact.",
}
_KEY = _optional(text(description="An account's API key; null: the first account's."))
_NEW_KEY = _optional(
    text(pattern="^[!-~]([ -~]*[!-~])?$", description="null: a random key is created.")
)
_SERVER: JsonObject = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
PARAMETERS: Mapping[str, JsonObject] = {
    "factor": {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_SPEED},
    "seconds": {"type": "number", "minimum": 0, "maximum": 10_000_000_000},
    "fault_id": {"type": "integer"},
    "after": {"type": "integer", "description": "Only entries after the one with this number."},
    "balances": {
        "type": ["object", "null"],
        "description": "Coins by wallet.",
        "properties": dict.fromkeys(COINS, _AMOUNT),
        "additionalProperties": False,
    },
    "key": _KEY,
    "owner_key": _KEY,
    "old_key": text(),
    "new_key": _NEW_KEY,
    "api_key": _NEW_KEY,
    "coin": text(enum=list(COINS)),
    "amount": _AMOUNT,
    "server_id": _SERVER,
    "rented": {"type": "boolean"},
    "online": {"type": "boolean"},
    "name": text(default="MyGPU", minLength=1, maxLength=200),
    "record": {
        "type": ["object", "null"],
        "description": "Fields of a `marketplace` record that replace those of a sample RTX 4090.",
    },
    "connected": {"type": "boolean", "default": True},
    "image": text(),
    "command": text(default=""),
    "env": {"type": "object", "additionalProperties": text(), "default": {}},
    "snapshot": {"type": "object"},
}
"""Parameters by name: one name means the same in every control that doesn't say otherwise."""

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
        "description": "How many matching requests are affected; null: all, until it is removed.",
    },
    "key": _optional(text(description="Affect only the account with this key.")),
    "probability": {"type": "number", "exclusiveMinimum": 0, "maximum": 1, "default": 1},
    "delay_s": {
        "type": ["number", "null"],
        "minimum": 0,
        "maximum": 1_000_000,
        "description": "Seconds until it answers, until it may be retried, or until the host goes "
        "offline; 2 by default.",
    },
    "fields": {
        "type": "array",
        "items": text(),
        "default": [],
        "description": "The fields that are missing or odd.",
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
        "key": _optional(text(description="The end of the key.")),
        "query": text(),
        "body": {"type": ["object", "null"], "description": "Without secrets."},
        "status": {"type": ["integer", "null"], "description": "null: no answer was sent."},
        "code": {"type": ["integer", "null"]},
        "error": _optional(text()),
        "answer": {"type": ["object", "string", "null"], "description": "Without secrets."},
        "acted": {"type": "boolean", "description": "Whether the call was carried out."},
        "order": {"type": ["integer", "null"], "description": "The order that was created."},
        "fault": _optional(text()),
    },
}
CLOCK: Mapping[str, JsonObject] = {
    "now": {"type": "number", "description": "Market time, unix seconds."},
    "speed": {"type": "number"},
    "frozen": {"type": "boolean"},
}
WALLETS: JsonObject = {"type": "object", "additionalProperties": text()}
ACCOUNT: JsonObject = {
    "type": "object",
    "required": ["key", "wallets"],
    "properties": {"key": text(), "wallets": WALLETS},
}
