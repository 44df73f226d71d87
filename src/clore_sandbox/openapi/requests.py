"""Request bodies in JSON Schema, with the limits of order_request.py (service.md section 3).

Rules across several fields stand in descriptions; a body that breaks one is answered with code 2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_sandbox.rules.order_request import (
    MAX_ENV_KEY,
    MAX_ENV_VALUE,
    MAX_KEY,
    MAX_PASSWORD,
    MAX_TOKEN,
)
from clore_sandbox.values.money import COINS, MAX_UNITS, UNITS_PER_COIN

if TYPE_CHECKING:
    from clore_sandbox.values.json_types import JsonObject

__all__ = ["CREATE_ORDER", "SET_SERVER_SETTINGS", "coin_price", "order_id"]

_MOST = MAX_UNITS // UNITS_PER_COIN
"""Most whole coins in a wallet: see money.py."""
_NO_NUL = r"^[^\u0000]*$"
_PORT = "^([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$"
"""1 to 65535."""


def order_id() -> JsonObject:
    """An order's number."""
    return {"type": "integer", "minimum": -(2**63) + 1, "maximum": 2**63 - 1}


def coin_price(**more: object) -> JsonObject:
    """A price in the named coin, per day, for the whole server."""
    about = "In the named coin, per day, for the whole server."
    return {"type": "number", "minimum": 0, "maximum": _MOST, "description": about, **more}


def _text(longest: int, **more: object) -> JsonObject:
    return {"type": ["string", "null"], "maxLength": longest, "pattern": _NO_NUL, **more}


CREATE_ORDER: JsonObject = {
    "type": "object",
    "required": ["currency", "image", "renting_server", "type"],
    "properties": {
        "currency": {"type": "string", "minLength": 1, "examples": list(COINS)},
        "image": {"type": "string", "minLength": 1, "examples": ["cloreai/ubuntu22.04-cuda12"]},
        "renting_server": {"type": "integer"},
        "type": {"enum": ["on-demand", "spot"]},
        "spotprice": coin_price(type=["number", "null"]),
        "required_price": coin_price(
            type=["number", "null"], description="The list price that the renter saw, per day."
        ),
        "ports": {
            "type": ["object", "null"],
            "description": "Inner port → protocol; at most one http port per order.",
            "propertyNames": {"pattern": _PORT},
            "additionalProperties": {"enum": ["tcp", "http"]},
            "examples": [{"22": "tcp", "8888": "http"}],
        },
        "env": {
            "type": ["object", "null"],
            "description": "Less than 12,288 characters of JSON.",
            "propertyNames": {"pattern": r"^[^=\u0000]+$", "maxLength": MAX_ENV_KEY},
            "additionalProperties": {
                "type": "string",
                "maxLength": MAX_ENV_VALUE,
                "pattern": _NO_NUL,
            },
        },
        "ssh_password": _text(MAX_PASSWORD),
        "ssh_key": _text(
            MAX_KEY,
            pattern=r"^((ssh-|ecdsa-|sk-)\S+ [A-Za-z0-9+/]+=*|$)",
            description="OpenSSH public keys, one per line.",
        ),
        "jupyter_token": _text(MAX_TOKEN),
        "command": {"type": ["string", "null"], "pattern": _NO_NUL},
        "autossh_entrypoint": {"type": ["boolean", "string", "null"]},
        "dockerhub_auth": {"type": ["object", "string", "null"]},
        "remember_password": {"type": ["boolean", "null"]},
    },
}

SET_SERVER_SETTINGS: JsonObject = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "availability": {"type": "boolean"},
        "mrl": {"type": "integer", "description": "The longest rental, in hours."},
        "on_demand": coin_price(),
        "spot": coin_price(),
        **{f"{coin}_on_demand": coin_price() for coin in COINS},
        **{f"{coin}_spot": coin_price() for coin in COINS},
        **{f"enabled-{coin}": {"type": "boolean"} for coin in COINS},
        "autoprice": {"type": ["boolean", "string", "object"], "examples": [{"bitcoin": "usd"}]},
        "usd_pricing": {"type": "object", "examples": [{"bitcoin": {"on_demand": 2, "spot": 1}}]},
    },
}
"""The old form of 004 names `on_demand` and `spot`, which are prices in bitcoin; the current one
each coin. What is wrong with them is said in `error`, so anything may be sent."""
