"""Orders, offers and wallets as answers show them, in both dialects; pure.

Live: the rows that were observed (service.md section 3). Reference: the same rows, plus the fields
of 002 and 004 in 004's types, for clients written to the documents.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

from clore_sandbox.rules.auction import worth
from clore_sandbox.rules.billing import creation_fee
from clore_sandbox.values.money import COINS, to_wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from clore_sandbox.books.orders import Order
    from clore_sandbox.values.json_types import JsonObject

__all__ = ["Dialect", "offer_rows", "order_row", "wallet_rows"]

Dialect = Literal["live", "reference"]

_WITHDRAWAL_FEE = {"bitcoin": 0.00005, "CLORE-Blockchain": 1, "USD-Blockchain": 1}
_DEPLOYING, _DEPLOYED = 0, 2


def wallet_rows(units: Mapping[str, int], mark: str) -> list[JsonObject]:
    """Rows of `wallets`. A whole balance is an int (0 was seen). `mark` is `books.deposit_mark`."""
    rows: list[JsonObject] = []
    for coin in sorted(units, key=COINS.index):
        amount = units[coin]
        row: JsonObject = {"name": coin}
        prefix = {"bitcoin": "bc1q", "CLORE-Blockchain": "A"}.get(coin)
        if prefix is not None:  # `deposit` may be missing, as it is for USD
            digest = hashlib.sha256(f"{mark} {coin}".encode()).hexdigest()
            row["deposit"] = prefix + digest[:38]
        row["balance"] = to_wire(amount)
        row["withdrawal_fee"] = _WITHDRAWAL_FEE.get(coin, 0)
        rows.append(row)
    return rows


def order_row(
    order: Order, record: Mapping[str, object], *, now_ms: int, online: bool, dialect: Dialect
) -> JsonObject:
    """One row of `my_orders`."""
    never = order.trouble is not None and order.trouble.kind == "never_boots"
    booted = now_ms >= order.booted_ms and not never and not order.outbid
    row: JsonObject = {
        "id": order.id,
        # The fee of the order, paid or not: a new order shows it.
        "creation_fee": to_wire(creation_fee(order.coin)),
        "price": to_wire(order.price),
        # Seconds here, hours in the marketplace (service.md section 2).
        "mrl": (order.last_ms - order.created_ms) // 1000,
        "image": order.ask.image,
        "currency": order.coin,
        "spend": to_wire(order.spend),
        "ct": order.created_ms // 1000,
        "specs": record.get("specs"),
        "si": order.server,
        "mon_container": _DEPLOYED if booted else _DEPLOYING,
        "online": online,
    }
    if order.type == "spot":
        row["spot"] = True
    if order.ended_ms is not None:
        # A closed row: online still true, no ports, no pub_cluster (service.md section 3).
        row |= {"online": True, "mon_container": _DEPLOYED, "tcp_ports": []}
        row |= {"expired": True, "order_end": order.ended_ms // 1000}
    else:
        row |= _connection(order, now_ms)
    for name in ("rating", "reliability", "owner", "cuda_version", "gpu_array"):
        if name in record:
            row[name] = record[name]
    if dialect == "reference":
        row |= _documented(order, row, booted=booted)
    return row


def offer_rows(
    orders: Iterable[Order], rates: Mapping[str, int], *, account: int, dialect: Dialect
) -> list[JsonObject]:
    """`offers` of `spot_marketplace`, the highest first; 004 names `order_id` and `price`."""
    rows: list[JsonObject] = []
    for order in sorted(orders, key=lambda o: (-worth(o.price, o.coin, rates), o.id)):
        row: JsonObject = {
            "offer_id": order.id,
            "bid": to_wire(order.price),
            "active": order.running,
            "my": order.account == account,
            "currency": order.coin,
        }
        if dialect == "reference":
            row |= {"order_id": order.id, "price": row["bid"], "server_id": order.server}
        rows.append(row)
    return rows


def _connection(order: Order, now_ms: int) -> JsonObject:
    where = order.connection
    # No row of an outbid order was observed: it has no connection (service.md section 5).
    if where is None or now_ms < order.connected_ms or order.outbid:
        return {"tcp_ports": []}
    fields: JsonObject = {
        "pub_cluster": [where.host],
        "tcp_ports": [f"{inner}:{public}" for inner, public in where.tcp.items()],
    }
    if where.http is not None:
        inner, public = where.http
        fields["http_port"] = str(inner)
        # The service names a host that it serves by HTTPS. On loopback there are no such names,
        # so this is an address with a port, and it speaks HTTP.
        fields["http_pub"] = f"{where.host}:{public}"
    return fields


def _documented(order: Order, live: JsonObject, *, booted: bool) -> JsonObject:
    """Fields that 002 (order object) and 004 (`Order`) add or type otherwise; 002's statuses."""
    ended = order.ended_ms is not None
    waits = "paused" if order.outbid else "pending"
    fields: JsonObject = {
        "order_id": order.id,
        "renting_server": order.server,
        "server_id": order.server,
        "type": order.type,
        "status": "expired" if ended else "running" if booted else waits,
        "created": order.created_ms // 1000,
        "created_at": str(order.created_ms // 1000),
        "env": dict(order.ask.env),
        "command": order.ask.command,
        "expired": ended,
        "tcp_ports": {},
    }
    if booted:
        fields["started"] = order.booted_ms // 1000
    where = order.connection
    if where is not None and "pub_cluster" in live:
        fields["pub_cluster"] = where.host
        fields["tcp_ports"] = {str(inner): public for inner, public in where.tcp.items()}
        if where.http is not None:
            fields["http_port"] = where.http[0]
    if where is not None and booted and not ended:
        ports = {str(a): f"tcp://{where.host}:{b}" for a, b in where.tcp.items()}
        connection: JsonObject = {"ports": ports}
        if 22 in where.tcp:  # noqa: PLR2004 - ssh
            connection["ssh"] = f"ssh root@{where.host} -p {where.tcp[22]}"
        if where.http is not None:
            url = f"http://{where.host}:{where.http[1]}"
            connection["jupyter"] = url
            ports[str(where.http[0])] = url
        fields["connection"] = connection
    return fields
