"""Orders in the store: made, listed, cancelled. One function, one transaction; rules decide.

Every function first bills what has fallen due, so that it sees the market of this moment.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional, Union

from clore_sandbox import billing, books, rules
from clore_sandbox.ask import OrderAsk
from clore_sandbox.inventory import max_rental_ms, on_demand_prices
from clore_sandbox.schema import FIRST_ORDER, MARKETPLACE
from clore_sandbox.store import AlreadyThere

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clore_sandbox.books import Ended
    from clore_sandbox.store import Row, Tx
    from clore_sandbox.values import JsonObject

__all__ = ["Connection", "Created", "Delays", "Order", "Trouble", "cancel", "create", "of_account"]


@dataclass(frozen=True)
class Delays:
    """Market milliseconds from an order's creation until it is seen, connected and booted."""

    visible_ms: int
    connected_ms: int
    booted_ms: int


@dataclass(frozen=True)
class Trouble:
    """What is to go wrong with an order, on request (see faults.py)."""

    kind: str
    delay_s: float


@dataclass(frozen=True)
class Connection:
    """Public ports on the marketplace's host, by inner port."""

    host: str
    tcp: dict[int, int]
    http: Optional[tuple[int, int]]

    def to_json(self) -> str:
        """For the store."""
        return json.dumps({"host": self.host, "tcp": list(self.tcp.items()), "http": self.http})

    @classmethod
    def from_json(cls, text: str) -> Connection:
        """What `to_json` wrote."""
        data = json.loads(text)
        http = data["http"]
        return cls(data["host"], dict(data["tcp"]), (http[0], http[1]) if http else None)


@dataclass(frozen=True)
class Order:
    """An order as the store has it. Money in units, times in market milliseconds."""

    id: int
    account: int
    server: int
    type: str
    coin: str
    price: int
    creation_fee: int
    spend: int
    fee: int
    ask: OrderAsk
    created_ms: int
    visible_ms: int
    connected_ms: int
    booted_ms: int
    last_ms: int
    ended_ms: Optional[int]
    reason: Optional[str]
    trouble: Optional[Trouble]
    connection: Optional[Connection]

    @classmethod
    def from_row(cls, row: Row) -> Order:
        """The order of a row of `orders`."""
        names = (
            *("id", "account", "server", "type", "coin", "price", "creation_fee", "spend", "fee"),
            *("created_ms", "visible_ms", "connected_ms", "booted_ms", "last_ms", "ended_ms"),
            "reason",
        )
        trouble = row["trouble"]
        connection = row["connection"]
        return cls(
            **{name: row[name] for name in names},
            ask=OrderAsk.from_json(row["ask"]),
            trouble=Trouble(*json.loads(trouble)) if trouble else None,
            connection=Connection.from_json(connection) if connection else None,
        )


@dataclass(frozen=True)
class Created:
    """An order that was made."""

    order: Order


def _server_state(
    tx: Tx, ask: OrderAsk, record: Optional[JsonObject]
) -> Optional[rules.ServerState]:
    if record is None:
        return None
    row = tx.one(
        "SELECT owner, online, taken, EXISTS (SELECT 1 FROM orders WHERE server = servers.id"
        " AND running = 1) AS busy FROM servers WHERE id = ?",
        ask.server,
    )
    if row is None:
        return None
    return rules.ServerState(
        owner=row["owner"],
        online=bool(row["online"]),
        rented=bool(row["taken"] or row["busy"]),
        gigaspot=rules.is_on_gigaspot(record),
        prices=rules.allowed_prices(on_demand_prices(record), record),
    )


def create(
    tx: Tx,
    ask: OrderAsk,
    *,
    account: int,
    record: Optional[JsonObject],
    now_ms: int,
    delays: Delays,
    trouble: Optional[Trouble],
) -> Union[Created, rules.Refusal]:
    """Rent a server on demand, or say why not. The unique row of a running order is the claim."""
    server = _server_state(tx, ask, record)
    price = server.prices.get(ask.coin, 0) if server is not None else 0
    mrl_ms = max_rental_ms(record) if record is not None else 0
    opening = billing.Bill(
        order=max(FIRST_ORDER, tx.number("SELECT MAX(id) FROM orders") + 1),
        price=price,
        fee_ppm=billing.FEE_PPM[ask.type],
        start_ms=now_ms,
        last_ms=now_ms + mrl_ms,
    )
    entry_fee = billing.creation_fee(ask.coin)
    refusal = rules.may_rent(
        ask,
        account=account,
        server=server,
        balance=books.balance(tx, account, ask.coin),
        first_cost=entry_fee + opening.cost(1),
    )
    if refusal is not None or server is None:
        return refusal or rules.Refusal("server-dont-exist")
    values: Mapping[str, Union[int, str, None]] = {
        "id": opening.order,
        "account": account,
        "server": ask.server,
        "host": server.owner,
        "type": ask.type,
        "coin": ask.coin,
        "price": price,
        "fee_ppm": opening.fee_ppm,
        "creation_fee": entry_fee,
        "ask": ask.to_json(),
        "created_ms": now_ms,
        "visible_ms": now_ms + delays.visible_ms,
        "connected_ms": now_ms + delays.connected_ms,
        "booted_ms": now_ms + delays.booted_ms,
        "start_ms": now_ms,
        "last_ms": opening.last_ms,
        "due_ms": now_ms,
        "ticks": 0,
        "spend": 0,
        "fee": 0,
        "running": 1,
        "trouble": json.dumps([trouble.kind, trouble.delay_s]) if trouble else None,
    }
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    try:
        # The names are the ones above, not a client's.
        tx.do(f"INSERT INTO orders ({names}) VALUES ({marks})", *values.values())  # noqa: S608
    except AlreadyThere:
        return rules.Refusal("server-already-rented")
    books.move(tx, account, MARKETPLACE, ask.coin, entry_fee)
    books.write_bill(tx, _row(tx, opening.order), opening.paid(1))
    return Created(Order.from_row(_row(tx, opening.order)))


def _row(tx: Tx, order: int) -> Row:
    row = tx.one("SELECT * FROM orders WHERE id = ?", order)
    if row is None:
        raise LookupError(f"no order {order}")
    return row


def cancel(
    tx: Tx, order: int, *, account: int, issue: Optional[str], now_ms: int
) -> Union[Ended, rules.Refusal]:
    """End an order now; its last tick has been paid when it began."""
    row = tx.one("SELECT * FROM orders WHERE id = ?", order)
    refusal = rules.may_cancel(
        account=account,
        owner=row["account"] if row is not None else None,
        ended=row is not None and row["ended_ms"] is not None,
        issue=issue,
    )
    if refusal is not None or row is None:
        return refusal or rules.Refusal("you_dont_own_this_order")
    end(tx, order, reason="cancelled", now_ms=now_ms)
    return books.Ended(order, row["server"])


def end(tx: Tx, order: int, *, reason: billing.EndReason, now_ms: int) -> None:
    """Note that an order has ended."""
    tx.do(
        "UPDATE orders SET running = 0, ended_ms = ?, reason = ? WHERE id = ?",
        now_ms,
        reason,
        order,
    )


def of_account(tx: Tx, account: int, *, now_ms: int, completed: bool) -> list[Order]:
    """The account's orders that are visible by now, oldest first; ended ones if asked for."""
    rows = tx.all(
        "SELECT * FROM orders WHERE account = ? AND visible_ms <= ?"
        " AND (ended_ms IS NULL OR ? = 1) ORDER BY id",
        account,
        now_ms,
        int(completed),
    )
    return [Order.from_row(row) for row in rows]


def running(tx: Tx) -> list[Order]:
    """Every order that runs."""
    rows = tx.all("SELECT * FROM orders WHERE running = 1 ORDER BY id")
    return [Order.from_row(row) for row in rows]


def connect(tx: Tx, order: int, connection: Connection) -> None:
    """Note where an order can be reached."""
    tx.do("UPDATE orders SET connection = ? WHERE id = ?", connection.to_json(), order)
