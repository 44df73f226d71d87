"""The records of answers in JSON Schema, after service.md section 3.

Clients may rely on the required fields. Others may be missing or odd on the real service, and
further fields are allowed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_sandbox.values.money import COINS

if TYPE_CHECKING:
    from clore_sandbox.values.json_types import JsonObject

__all__ = ["SCHEMAS", "ref"]


def ref(name: str) -> JsonObject:
    """A reference to one of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(*required: str, **properties: object) -> JsonObject:
    return {"type": "object", "required": list(required), "properties": properties}


def _unit(kind: str | list[str], description: str) -> JsonObject:
    return {"type": kind, "description": description}


def _either(*kinds: JsonObject) -> JsonObject:
    return {"anyOf": list(kinds)}


_TEXT: JsonObject = {"type": "string"}
_INT: JsonObject = {"type": "integer"}
_NUMBER: JsonObject = {"type": "number"}
_BOOL: JsonObject = {"type": "boolean"}
_TEXTS: JsonObject = {"type": "array", "items": _TEXT}

_SPECS = _object(
    mb=_TEXT,
    cpu=_TEXT,
    cpus=_unit("string", "Cores/threads: `16/32`."),
    ram=_unit("number", "GB."),
    disk=_unit("string", "Name and GB: `NAME 96.86GB`."),
    disk_speed=_unit("number", "MB/s."),
    gpu=_unit("string", "`8x NVIDIA GeForce RTX 3090`."),
    gpuram=_unit("number", "GB of one GPU."),
    net=_object(cc=_TEXT, down=_unit("number", "Mbit/s."), up=_unit("number", "Mbit/s.")),
    pcie_rev=_INT,
    pcie_width=_INT,
    pl={"type": "array", "items": _NUMBER, "description": "Power limits, W."},
)
_RATING = _object(avg=_unit("number", "0-5."), cnt=_INT)

_SERVER = _object(
    "id",
    "price",
    "rented",
    "specs",
    id=_INT,
    owner=_INT,
    mrl=_unit("integer", "The longest rental, in hours."),
    price=_object(
        on_demand=ref("Coins"),
        spot=ref("Coins"),
        usd=_object(
            on_demand_btc=_NUMBER,
            on_demand_clore=_NUMBER,
            on_demand_usd=_NUMBER,
            spot=_unit("number", "0 in every sample: unknown."),
        ),
    ),
    rented=_BOOL,
    specs=ref("Specs"),
    reliability=_unit("number", "0-1."),
    allowed_coins={
        **_TEXTS,
        "description": "The coins it can be paid in; prices may name others too.",
    },
    rating=ref("Rating"),
    cuda_version=_TEXT,
    gpu_array={"type": "array", "description": "Short names, often behind a space."},
    gigaspot={"type": ["boolean", "object"]},
    autoprice={"enum": ["usd"], "description": "Absent if no price follows USD."},
)

_ORDER = _object(
    "id",
    "si",
    "price",
    "currency",
    "ct",
    "mrl",
    "tcp_ports",
    id=_INT,
    si=_unit("integer", "The server's number."),
    price=_unit("number", "In the named coin, per day."),
    creation_fee=_unit("number", "Charged once, if the order runs for 10 minutes."),
    currency=_TEXT,
    spend=_unit("number", "So far, without fees."),
    mrl=_unit("integer", "The longest rental, in seconds."),
    ct=_unit("integer", "Unix seconds of its creation."),
    order_end=_unit("integer", "Unix seconds of its end."),
    expired=_BOOL,
    image=_TEXT,
    mon_container=_unit("integer", "0 or 1 deploying, 2 deployed."),
    online=_unit("boolean", "Whether the host is online; not the container."),
    # The second form of each is the reference dialect's (004, Order).
    pub_cluster=_either({**_TEXTS, "description": "Hosts to try."}, _TEXT),
    tcp_ports=_either(
        {**_TEXTS, "description": "`inner:public`."},
        {
            "type": "object",
            "additionalProperties": _INT,
            "description": "Public port by inner port.",
        },
    ),
    http_port=_unit(["string", "integer"], "The inner port."),
    http_pub=_unit("string", "Its public address."),
    spot=_BOOL,
    specs={"anyOf": [ref("Specs"), {"type": "null"}]},
    rating=ref("Rating"),
    # Fields of the reference dialect (002, Order Object Structure; 004, Order).
    order_id=_INT,
    renting_server=_INT,
    type={"enum": ["on-demand", "spot"]},
    status={"enum": ["pending", "running", "paused", "expired"]},
    connection=_object(ssh=_TEXT, jupyter=_TEXT, ports={"type": "object"}),
)

_OFFER = _object(
    "offer_id",
    "bid",
    "active",
    "my",
    "currency",
    offer_id=_unit("integer", "The order's number."),
    bid=_unit("number", "In the named coin, per day."),
    active=_unit("boolean", "Whether the order runs."),
    my=_BOOL,
    currency=_TEXT,
)

_IN_USD = _object("on_demand", "spot", on_demand=_NUMBER, spot=_NUMBER)

_HOSTED = _object(
    "name",
    "connected",
    "visibility",
    name=_TEXT,
    connected=_BOOL,
    visibility={"enum": ["public", "hidden", "private"]},
    online=_BOOL,
    pricing=ref("Coins"),
    min_spot_pricing=ref("Coins"),
    init_token=_unit(
        "string", "Only of a server that has never connected, which has no id and no specs."
    ),
    id=_INT,
    public_name=_TEXT,
    rented=_unit("boolean", "Absent unless true."),
    remaining_time=_unit("integer", "The rental's end, in unix **milliseconds**."),
    gpu_array={"type": "array", "items": _TEXT},
    gpu_count=_INT,
    usd_pricing=_either(
        {**_IN_USD, "description": "USD per day; absent if no price follows USD."},
        {
            "type": "object",
            "additionalProperties": _IN_USD,
            "description": "By coin, in the reference dialect.",
        },
    ),
    autoprice=_either(
        {"const": "usd"}, {"type": "object", "description": "By coin, in the reference dialect."}
    ),
    max_fair_price_usd=_NUMBER,
    allowed_currencies={**_TEXTS, "description": "In the reference dialect (004, MyServer)."},
    oc_gpus=_unit("string", "JSON: the ranges of each GPU's overclocking settings."),
    specs={"anyOf": [ref("Specs"), {"type": "null"}]},
    working_properly=_BOOL,
)

_CONFIG = _object(
    "name",
    "connected",
    "visibility",
    "mrl",
    name=_TEXT,
    connected=_BOOL,
    visibility={"enum": ["public", "hidden", "private"]},
    pricing=ref("Coins"),
    spot_pricing=ref("Coins"),
    usd_pricing={
        "type": "object",
        "additionalProperties": _object(on_demand=_NUMBER, spot=_NUMBER),
    },
    mrl=_unit("integer", "The longest rental, in hours."),
    online=_BOOL,
    id=_INT,
    rental_status=_unit("integer", "0 not rented, 1 spot, 2 on demand."),
    allowed_coins=_TEXTS,
    remaining_time=_unit("integer", "The rental's end, in unix **milliseconds**."),
    background_job={"type": ["object", "null"]},
)

SCHEMAS: JsonObject = {
    "Coins": {
        "type": "object",
        "description": "A price per day by coin, for the whole server.",
        "properties": {coin: {"type": ["number", "null"]} for coin in COINS},
    },
    "Specs": _SPECS,
    "Rating": _RATING,
    "Server": _SERVER,
    "Order": _ORDER,
    "Wallet": _object(
        "name",
        name={"enum": list(COINS)},
        deposit=_TEXT,
        balance={"type": ["number", "null"]},
        withdrawal_fee=_NUMBER,
    ),
    "Offer": _OFFER,
    "SpotMarket": _object(
        "offers",
        "server",
        "currency_rates_in_usd",
        currency_rates_in_usd={"type": "object", "additionalProperties": _NUMBER},
        offers={"type": "array", "items": ref("Offer")},
        server=_object(
            min_pricing=ref("Coins"),
            mrl=_unit("integer", "The longest rental, in seconds."),
            visibility=_TEXT,
            online=_BOOL,
        ),
    ),
    "HostedServer": _HOSTED,
    "ServerConfig": _CONFIG,
}
