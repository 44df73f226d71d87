"""Orders in the store: create, bid, list, cancel. Rules decide; lifecycle.py carries out.

Every function works within one transaction, and first settles the accounts and servers concerned,
so that it sees the current market.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clore_sandbox import books, rules
from clore_sandbox.books import lifecycle
from clore_sandbox.books.lifecycle import Delays
from clore_sandbox.fleet.inventory import max_rental_ms, on_demand_prices
from clore_sandbox.rules import auction, billing
from clore_sandbox.rules.order_request import OrderRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from clore_sandbox.books.lifecycle import Effects, Terms
    from clore_sandbox.store import Row, Tx

__all__ = [
    "Connection",
    "Delays",
    "Order",
    "Trouble",
    "cancel",
    "connect",
    "create",
    "of_account",
    "offers",
    "running",
    "set_price",
]


@dataclass(frozen=True)
class Trouble:
    """The fault that an order will have (see faults.py)."""

    kind: str
    delay_s: float


@dataclass(frozen=True)
class Connection:
    """The public ports of an order, by inner port; `http` is (inner, public)."""

    host: str
    tcp: dict[int, int]
    http: tuple[int, int] | None

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
    """An order as the store has it. Money in units, times in market milliseconds.

    `spend`, `fee` and `creation_fee` are what it has paid so far.
    """

    id: int
    account: int
    server: int
    type: str
    coin: str
    price: int
    creation_fee: int
    spend: int
    fee: int
    ask: OrderRequest
    created_ms: int
    visible_ms: int
    connected_ms: int
    booted_ms: int
    last_ms: int
    ended_ms: int | None
    reason: str | None
    trouble: Trouble | None
    connection: Connection | None
    running: bool

    @property
    def outbid(self) -> bool:
        """Whether it waits for its server."""
        return not self.running and self.ended_ms is None

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
            ask=OrderRequest.from_json(row["ask"]),
            trouble=Trouble(*json.loads(trouble)) if trouble else None,
            connection=Connection.from_json(connection) if connection else None,
            running=bool(row["running"]),
        )


@dataclass(frozen=True)
class _Offered:
    """The fields of a record that matter for a rental; see `rules.ServerState`."""

    gigaspot: bool
    prices: Mapping[str, int]
    max_rental_ms: int


@functools.lru_cache(maxsize=1_000)
def _offered(record: str, kind: str) -> _Offered:
    """Read them from a stored record; cached, since few records are requested often."""
    fields = json.loads(record)
    return _Offered(
        rules.is_on_gigaspot(fields),
        lifecycle.least_bids(fields)
        if kind == "spot"
        else rules.allowed_prices(on_demand_prices(fields), fields),
        max_rental_ms(fields),
    )


def _server_state(
    tx: Tx, ask: OrderRequest, *, account: int, now_ms: int, terms: Terms, effects: Effects
) -> tuple[rules.ServerState | None, int]:
    """The requested server and the renter's balance, after both are settled."""
    asked = (account, ask.coin, now_ms, ask.server, account, account, ask.server)
    row = tx.one(_STATE, *asked)
    if row is not None and row["due"]:
        lifecycle.settle(tx, now_ms, terms, effects, account=account, server=ask.server)
        row = tx.one(_STATE, *asked)
    if row is None:
        return None, 0
    offered = _offered(row["record"], ask.type)
    state = rules.ServerState(
        owner=row["owner"],
        online=bool(row["online"]),
        rented=bool(row["taken"] or row["busy"]),
        gigaspot=offered.gigaspot,
        prices=offered.prices,
        own_offer=ask.type == "spot" and tx.number(_OWN_OFFERS, account, ask.server) > 0,
        max_rental_ms=offered.max_rental_ms,
    )
    return state, row["balance"] or 0


_STATE = (
    "SELECT owner, online, taken, record,"  # noqa: S608 - no values
    " (SELECT amount FROM wallets WHERE account = ? AND coin = ?) AS balance,"
    " EXISTS (SELECT 1 FROM orders WHERE server = servers.id AND running = 1"
    " AND type = 'on-demand') AS busy,"
    f" EXISTS (SELECT 1 FROM orders WHERE {lifecycle.DUE}) AS due"
    " FROM servers WHERE id = ? AND hidden = 0"
)
_OWN_OFFERS = (
    "SELECT COUNT(*) FROM orders WHERE account = ? AND server = ? AND type = 'spot'"
    " AND ended_ms IS NULL"
)


def create(
    tx: Tx,
    ask: OrderRequest,
    *,
    account: int,
    now_ms: int,
    terms: Terms,
    effects: Effects,
    draw_trouble: Callable[[], Trouble | None] = lambda: None,
) -> Order | rules.Refusal:
    """Rent a server or bid for it, or refuse.

    `draw_trouble` is called only if there will be an order, so that a refusal uses up no fault.

    Raises:
        AlreadyThere: Another order took the server in between; the transaction rolls back.
    """
    # No server has a number that the database cannot store.
    if abs(ask.server) >= 2**63:
        return rules.Refusal("server-dont-exist")
    server, balance = _server_state(
        tx, ask, account=account, now_ms=now_ms, terms=terms, effects=effects
    )
    refusal = rules.may_have(account, server)
    # Before other look-ups: in a race, most requests are refused here.
    if refusal is not None or server is None:
        return refusal or rules.Refusal("server-dont-exist")
    listed = server.prices.get(ask.coin, 0)
    price = listed if ask.type == "on-demand" else ask.spot_price or 0
    opening = billing.Bill(
        order=0,
        price=price,
        fee_ppm=billing.FEE_PPM[ask.type],
        start_ms=now_ms,
        # From its creation, also for a bid that waits: offers expire too.
        last_ms=now_ms + server.max_rental_ms,
    )
    refusal = rules.may_rent(
        ask,
        account=account,
        server=server,
        balance=balance,
        first_cost=opening.cost(1),
    )
    if refusal is not None:
        return refusal
    trouble = draw_trouble()
    number = books.next_number(tx, "order")
    values: Mapping[str, int | str | None] = {
        "id": number,
        "account": account,
        "server": ask.server,
        "host": server.owner,
        "type": ask.type,
        "coin": ask.coin,
        "price": price,
        "fee_ppm": opening.fee_ppm,
        "creation_fee": 0,  # so far
        "ask": ask.to_json(),
        "created_ms": now_ms,
        "visible_ms": now_ms + terms.delays.visible_ms,
        "connected_ms": now_ms + terms.delays.connected_ms,
        "booted_ms": now_ms + terms.delays.booted_ms,
        "start_ms": now_ms,
        "last_ms": opening.last_ms,
        "due_ms": opening.last_ms,
        "ticks": 0,
        "spend": 0,
        "fee": 0,
        "running": 0,
        "billed": 0,
        "trouble": json.dumps([trouble.kind, trouble.delay_s]) if trouble else None,
    }
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    # The names are those above, not a client's.
    tx.do(f"INSERT INTO orders ({names}) VALUES ({marks})", *values.values())  # noqa: S608
    lifecycle.reassign(tx, ask.server, now_ms, terms, effects)
    return Order.from_row(_row(tx, number))


_ORDER = "SELECT * FROM orders WHERE id = ?"


def _row(tx: Tx, order: int) -> Row:
    row = tx.one(_ORDER, order)
    if row is None:
        raise LookupError(f"no order {order}")
    return row


def _open_row(tx: Tx, order: int, now_ms: int, terms: Terms, effects: Effects) -> Row | None:
    """The order's row, after its server and its renter are settled."""
    row = tx.one(_ORDER_AND_DUE, now_ms, order)
    if row is None or not row["due"]:
        return row
    lifecycle.settle(tx, now_ms, terms, effects, account=row["account"], server=row["server"])
    return _row(tx, order)


_ORDER_AND_DUE = (
    "SELECT mine.*, EXISTS (SELECT 1 FROM orders WHERE ended_ms IS NULL AND due_ms <= ? AND"
    " (server = mine.server OR account = mine.account OR host = mine.account)) AS due"
    " FROM orders AS mine WHERE id = ?"
)


def cancel(
    tx: Tx,
    order: int,
    *,
    account: int,
    issue: str | None,
    now_ms: int,
    terms: Terms,
    effects: Effects,
) -> rules.Refusal | None:
    """End an order now, or refuse; its last tick was paid when it began."""
    row = _open_row(tx, order, now_ms, terms, effects)
    refusal = rules.may_cancel(
        account=account,
        owner=row["account"] if row is not None else None,
        ended=row is not None and row["ended_ms"] is not None,
        issue=issue,
    )
    if refusal is not None or row is None:
        return refusal
    lifecycle.end(tx, row, event="cancelled", now_ms=now_ms, effects=effects, issue=issue)
    lifecycle.reassign(tx, row["server"], now_ms, terms, effects)
    return None


def set_price(
    tx: Tx,
    order: int,
    desired: int,
    *,
    account: int,
    now_ms: int,
    terms: Terms,
    effects: Effects,
) -> rules.Refusal | None:
    """Change a bid, or refuse; the server goes to the highest bid."""
    row = _open_row(tx, order, now_ms, terms, effects)
    offer: auction.Offer | None = None
    if row is not None and row["type"] == "spot" and row["ended_ms"] is None:
        there = tx.one("SELECT record FROM servers WHERE id = ?", row["server"])
        least = lifecycle.least_bids(json.loads(there["record"])) if there is not None else {}
        coin = row["coin"]
        offer = auction.Offer(
            row["account"], coin, row["price"], least.get(coin), row["lowered_ms"]
        )
    refusal = auction.may_set_price(
        offer, account=account, desired=desired, rates=terms.rates, now_ms=now_ms
    )
    if refusal is not None or row is None:
        return refusal
    lifecycle.reprice(tx, row, desired, now_ms=now_ms)
    lifecycle.reassign(tx, row["server"], now_ms, terms, effects)
    return None


def offers(tx: Tx, server: int) -> list[Order]:
    """The open spot orders of a server, oldest first."""
    rows = tx.all(
        "SELECT * FROM orders WHERE server = ? AND type = 'spot' AND ended_ms IS NULL ORDER BY id",
        server,
    )
    return [Order.from_row(row) for row in rows]


def of_account(tx: Tx, account: int, *, now_ms: int, completed: bool) -> list[Order]:
    """The account's visible orders, oldest first; with `completed`, ended ones too."""
    rows = tx.all(
        "SELECT * FROM orders WHERE account = ? AND visible_ms <= ?"
        " AND (ended_ms IS NULL OR ? = 1) ORDER BY id",
        account,
        now_ms,
        int(completed),
    )
    return [Order.from_row(row) for row in rows]


def running(tx: Tx) -> list[Order]:
    """Every running order."""
    rows = tx.all("SELECT * FROM orders WHERE running = 1 ORDER BY id")
    return [Order.from_row(row) for row in rows]


def connect(tx: Tx, order: int, connection: Connection) -> None:
    """Store an order's connection."""
    tx.do("UPDATE orders SET connection = ? WHERE id = ?", connection.to_json(), order)
