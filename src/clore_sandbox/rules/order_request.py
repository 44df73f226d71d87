"""Reads the body of `create_order` strictly; pure.

The limits are those of service.md section 3. A body of another shape is `InvalidInput` (code 2)
with a reason, although the service answers only the code.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Literal, NoReturn

import orjson

from clore_sandbox.values.json_types import JsonObject, as_int, as_number, as_object, as_text
from clore_sandbox.values.money import to_units

__all__ = [
    "InvalidInput",
    "OrderRequest",
    "OrderType",
    "Protocol",
    "as_units",
    "read_order_request",
]

OrderType = Literal["on-demand", "spot"]
Protocol = Literal["tcp", "http"]

MAX_PASSWORD = 32
MAX_KEY = 3_072
MAX_TOKEN = 32
MAX_ENV_JSON = 12_288
MAX_ENV_KEY = 128
MAX_ENV_VALUE = 1_536
MAX_PORT = 65_535

_PUBLIC_KEY = re.compile(r"(ssh-|ecdsa-|sk-)\S+ [A-Za-z0-9+/]+=*( .*)?")


class InvalidInput(ValueError):  # noqa: N818 - the service's term for code 2
    """The request does not have the documented shape: code 2."""


@dataclass(frozen=True)
class OrderRequest:
    """An order as requested. Prices are units per day; ports are inner port → protocol."""

    server: int
    coin: str
    image: str
    type: OrderType
    spot_price: int | None = None
    required_price: int | None = None
    ports: dict[int, Protocol] = field(default_factory=dict[int, Protocol])
    env: dict[str, str] = field(default_factory=dict[str, str])
    ssh_password: str | None = None
    ssh_key: str | None = None
    jupyter_token: str | None = None
    command: str | None = None

    def to_json(self) -> str:
        """For the store, with secrets: the order must survive a restart."""
        return orjson.dumps(vars(self), option=orjson.OPT_NON_STR_KEYS).decode()

    @classmethod
    def from_json(cls, text: str) -> OrderRequest:
        """What `to_json` wrote."""
        data = orjson.loads(text)
        data["ports"] = {int(port): kind for port, kind in data["ports"].items()}
        return cls(**data)


def read_order_request(body: JsonObject) -> OrderRequest:
    """The order that a body requests; unknown fields are ignored, as the service changes some."""
    server = as_int(body.get("renting_server"))
    if server is None:
        _refuse("renting_server must be a whole number")
    kind = body.get("type")
    if kind not in ("on-demand", "spot"):
        _refuse("type must be on-demand or spot")
    coin, image = as_text(body.get("currency")), as_text(body.get("image"))
    if not coin or not image:
        _refuse("currency and image must be given")
    spot_price = _price(body, "spotprice")
    if kind == "spot" and spot_price is None:
        _refuse("a spot order needs spotprice")
    password = _short_text(body, "ssh_password", MAX_PASSWORD)
    key = _short_text(body, "ssh_key", MAX_KEY)
    if key and not all(_PUBLIC_KEY.fullmatch(line.strip()) for line in key.strip().splitlines()):
        _refuse("ssh_key must be a public key")
    # A bool on the live service, a string in 004: both are accepted (service.md section 3).
    if not isinstance(body.get("autossh_entrypoint"), (bool, str, type(None))):
        _refuse("autossh_entrypoint must be a bool or a string")
    auth = body.get("dockerhub_auth")
    if not isinstance(auth, (str, type(None))) and as_object(auth) is None:
        _refuse("dockerhub_auth must be a string or an object")
    if not isinstance(body.get("remember_password"), (bool, type(None))):
        _refuse("remember_password must be a bool")
    return OrderRequest(
        server=server,
        coin=coin,
        image=image,
        type=kind,
        spot_price=spot_price,
        required_price=_price(body, "required_price"),
        ports=_ports(body.get("ports")),
        env=_env(body.get("env")),
        ssh_password=password,
        ssh_key=key,
        jupyter_token=_short_text(body, "jupyter_token", MAX_TOKEN),
        command=_short_text(body, "command", None),
    )


def _refuse(why: str) -> NoReturn:
    raise InvalidInput(why)


def _short_text(body: JsonObject, name: str, longest: int | None) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    text = as_text(value)
    if text is None or (longest is not None and len(text) > longest) or "\0" in text:
        _refuse(f"{name} must be a string of at most {longest} characters")
    return text or None


def _price(body: JsonObject, name: str) -> int | None:
    if body.get(name) is None:
        return None
    units = as_units(body[name])
    if units is None:
        _refuse(f"{name} must be a price")
    return units


def as_units(value: object) -> int | None:
    """A price in units per day; None if it is invalid."""
    number = as_number(value)
    if number is None or number < 0:
        return None
    try:
        return to_units(number)
    except ValueError:
        return None


def _ports(value: object) -> dict[int, Protocol]:
    if value is None:
        return {}
    ports = as_object(value)
    if ports is None:
        _refuse("ports must be an object")
    read: dict[int, Protocol] = {}
    for port, kind in ports.items():
        if not (port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= MAX_PORT):
            _refuse(f"not a port: {port!r}")
        if kind not in ("tcp", "http"):
            _refuse(f"a port is tcp or http, not {kind!r}")
        read[int(port)] = kind
    # One http port per order, although the sample of a ports object in 001 has two.
    if sum(kind == "http" for kind in read.values()) > 1:
        _refuse("only one http port per order")
    return read


def _env(value: object) -> dict[str, str]:
    if value is None:
        return {}
    env = as_object(value)
    if env is None:
        _refuse("env must be an object")
    read: dict[str, str] = {}
    for name, text in env.items():
        if not isinstance(text, str) or len(text) > MAX_ENV_VALUE or "\0" in text:
            _refuse(f"env {name!r} must be a string of at most {MAX_ENV_VALUE} characters")
        if not name or len(name) > MAX_ENV_KEY or "=" in name or "\0" in name:
            _refuse(f"not a valid name of an environment variable: {name!r}")
        read[name] = text
    if len(json.dumps(read, ensure_ascii=False)) >= MAX_ENV_JSON:
        _refuse(f"env must be shorter than {MAX_ENV_JSON} characters of JSON")
    return read
