"""Bills, starts, outbids and ends orders in the store, within the transaction it is given.

Promises: an order changes its state only by `rules.TRANSITIONS`. After `settle` and `reassign` the
order that runs on a server is the one that auction.py names, and all usage has been paid. `Effects`
notes what must follow outside the store (rooms, the listing).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clore_sandbox import books, rules
from clore_sandbox.fleet.inventory import spot_prices
from clore_sandbox.rules import auction, reputation
from clore_sandbox.rules.auction import Contender, Rates
from clore_sandbox.store.schema import MARKETPLACE

if TYPE_CHECKING:
    from clore_sandbox.store import Row, Tx
    from clore_sandbox.values.json_types import JsonObject

__all__ = [
    "DUE",
    "Delays",
    "Effects",
    "Terms",
    "end",
    "least_bids",
    "pause",
    "reassign",
    "reprice",
    "settle",
    "take",
    "write_record",
]


@dataclass(frozen=True)
class Delays:
    """Market milliseconds from an order's start until it is visible, connected and booted."""

    visible_ms: int
    connected_ms: int
    booted_ms: int


@dataclass(frozen=True)
class Terms:
    """Settings of the whole market."""

    delays: Delays
    rates: Rates


@dataclass
class Effects:
    """The changes that a transaction made, whose consequences outside the store follow it.

    `boots` says whether an order's room boots or ends (the last counts). `servers` and `records`
    are servers whose state or record changed. `hosts`: an account has a new server.
    """

    boots: dict[int, bool] = field(default_factory=dict[int, bool])
    servers: set[int] = field(default_factory=set[int])
    records: set[int] = field(default_factory=set[int])
    hosts: bool = False


DUE = "ended_ms IS NULL AND due_ms <= ? AND (server = ? OR account = ? OR host = ?)"
"""Condition for open orders that are due, on a server or of an account as renter or host."""


def _due(tx: Tx, now_ms: int, what: str, account: int | None, server: int | None) -> list[Row]:
    """The open orders that are due, of this account and this server."""
    if account is None and server is None:
        sql = f"SELECT {what} FROM orders WHERE ended_ms IS NULL AND due_ms <= ?"  # noqa: S608 - see callers
        return tx.all(sql, now_ms)
    # No row equals NULL, so the one that is None matches nothing.
    sql = f"SELECT {what} FROM orders WHERE {DUE}"  # noqa: S608 - see callers
    return tx.all(sql, now_ms, server, account, account)


def settle(
    tx: Tx,
    now_ms: int,
    terms: Terms,
    effects: Effects,
    *,
    account: int | None = None,
    server: int | None = None,
) -> None:
    """Bill orders up to now, end those that cannot pay or expire, and start their successors.

    With an account: the orders it pays for or earns from; with a server: the orders on it; with
    neither: all. A successor starts at the time when the order before it ended, however late this
    runs; so waiting orders expire last.
    """
    due = _due(tx, now_ms, "DISTINCT account, coin, running", account, server)
    if not due:
        return
    purses: set[tuple[int, str]] = {(row["account"], row["coin"]) for row in due if row["running"]}
    while purses:
        over = books.settle_wallets(tx, purses, now_ms)
        for row, bill in over:
            if bill.reason is not None and bill.ended_ms is not None:
                end(tx, row, event=bill.reason, now_ms=bill.ended_ms, effects=effects)
        purses = set[tuple[int, str]]()
        for row, bill in sorted(over, key=lambda one: (one[1].ended_ms or 0, one[1].order)):
            if row["running"] and bill.ended_ms is not None:
                purses |= reassign(tx, row["server"], bill.ended_ms, terms, effects)
    for row in [row for row in _due(tx, now_ms, "*", account, server) if not row["running"]]:
        if server is None and account is not None:
            # It may have run before it expired: settling its server finds out.
            settle(tx, now_ms, terms, effects, server=row["server"])
        else:
            end(tx, row, event="max_rental", now_ms=row["last_ms"], effects=effects)


def _note_transition(row: Row, event: rules.Event, effects: Effects) -> None:
    """Look up the transition, and note what happens to the order's room."""
    transition = rules.TRANSITIONS["running" if row["running"] else "waiting", event]
    if transition.room != "stays":
        effects.boots[row["id"]] = transition.room == "boots"
    effects.servers.add(row["server"])


def end(
    tx: Tx,
    row: Row,
    *,
    event: rules.Event,
    now_ms: int,
    effects: Effects,
    issue: str | None = None,
) -> None:
    """End an open order, whose bill has been settled; its host is rated."""
    _note_transition(row, event, effects)
    tx.do(
        "UPDATE orders SET running = 0, billed = 0, ended_ms = ?, reason = ?, issue = ?"
        " WHERE id = ?",
        now_ms,
        event,
        issue,
        row["id"],
    )
    if issue or (row["running"] and now_ms - row["created_ms"] >= reputation.LEAST_RENTAL_MS):
        _rate(tx, row["server"], effects, complaint=bool(issue))


def _rate(tx: Tx, server: int, effects: Effects, *, complaint: bool) -> None:
    row = tx.one("SELECT online, record FROM servers WHERE id = ?", server)
    if row is not None:
        record = json.loads(row["record"])
        record["rating"] = reputation.rated(record, good=bool(row["online"]) and not complaint)
        write_record(tx, server, record, effects)


def write_record(tx: Tx, server: int, record: JsonObject, effects: Effects) -> None:
    """Replace a server's record."""
    tx.do("UPDATE servers SET record = ? WHERE id = ?", json.dumps(record), server)
    effects.records.add(server)


def least_bids(record: JsonObject) -> dict[str, int]:
    """`min_pricing` in the allowed coins, in units per day."""
    return rules.allowed_prices(spot_prices(record), record)


def reassign(
    tx: Tx, server: int, at_ms: int, terms: Terms, effects: Effects
) -> set[tuple[int, str]]:
    """Give the server to the order that wins it; returns the wallet that pays for a new one.

    An order that cannot pay its first minute ends, and the next one gets its chance.
    """
    rows = _open_orders(tx, server)
    for number, row in list(rows.items()):
        if not row["running"] and row["last_ms"] <= at_ms:
            end(tx, row, event="max_rental", now_ms=row["last_ms"], effects=effects)
            del rows[number]
    while True:
        chosen = _winner(tx, server, list(rows.values()), terms)
        running = next((row for row in rows.values() if row["running"]), None)
        if running is not None and running["id"] == chosen:
            return set()
        if running is not None:
            _note_transition(running, "loses", effects)
            books.write_bill(tx, books.bill_of(running).paused(), running=0)
        if chosen is None:
            return set()
        if _start(tx, rows[chosen], at_ms, terms, effects):
            return {(rows[chosen]["account"], rows[chosen]["coin"])}
        rows = _open_orders(tx, server)


def _open_orders(tx: Tx, server: int) -> dict[int, Row]:
    """The open orders by number, with the host's state and the renter's balance."""
    return {row["id"]: row for row in tx.all(_OPEN, server)}


_OPEN = (
    "SELECT orders.*, servers.online AS host_online, wallets.amount AS balance FROM orders"
    " LEFT JOIN servers ON servers.id = orders.server"
    " LEFT JOIN wallets ON wallets.account = orders.account AND wallets.coin = orders.coin"
    " WHERE server = ? AND ended_ms IS NULL ORDER BY orders.id"
)


def _winner(tx: Tx, server: int, rows: list[Row], terms: Terms) -> int | None:
    """The order that has the server by the rules of the auction."""
    if not rows:
        return None
    minimum: dict[str, int] = {}
    taken = False
    if any(row["type"] == "spot" for row in rows):
        there = tx.one("SELECT taken, record FROM servers WHERE id = ?", server)
        if there is not None:
            minimum, taken = least_bids(json.loads(there["record"])), bool(there["taken"])
    contenders = [
        Contender(row["id"], row["type"] == "on-demand", row["coin"], row["price"]) for row in rows
    ]
    return auction.winner(contenders, minimum, terms.rates, taken=taken)


def _start(tx: Tx, row: Row, at_ms: int, terms: Terms, effects: Effects) -> bool:
    """Let an open order run from now on; False if it ended instead, since it cannot pay."""
    online = row["host_online"]
    bill = books.bill_of(row)
    resumed = bill.resumed(at_ms)
    # Its next minute may be paid already, if it was outbid for seconds only.
    paid = resumed.paid(min(1, resumed.ticks_due(at_ms)))
    shares = {row["host"]: paid.spend - bill.spend}
    shares[MARKETPLACE] = shares.get(MARKETPLACE, 0) + paid.charges - bill.charges
    if online is None or (row["balance"] or 0) < sum(shares.values()):
        end(tx, row, event="no_balance", now_ms=at_ms, effects=effects)
        return False
    _note_transition(row, "wins", effects)
    books.write_bill(
        tx,
        paid if online else bill,
        running=1,
        connected_ms=at_ms + terms.delays.connected_ms,
        booted_ms=at_ms + terms.delays.booted_ms,
        connection=None,
    )
    if online:
        books.pay(tx, row["account"], row["coin"], shares)
    return True


def pause(tx: Tx, server: int, *, online: bool, now_ms: int) -> list[int]:
    """Stop or resume billing the running order of a server that went offline or came back."""
    rows = [row for row in _open_orders(tx, server).values() if row["running"]]
    for row in rows:
        bill = books.bill_of(row)
        if bill.billed != online:
            books.write_bill(tx, bill.resumed(now_ms) if online else bill.paused())
    return [row["id"] for row in rows]


def reprice(tx: Tx, row: Row, price: int, *, now_ms: int) -> None:
    """Change a bid; the paid minute keeps the old price."""
    lowered_ms = now_ms if price < row["price"] else row["lowered_ms"]
    books.write_bill(tx, books.bill_of(row).repriced(price), lowered_ms=lowered_ms)


def take(tx: Tx, server: int, *, taken: bool, now_ms: int, terms: Terms, effects: Effects) -> None:
    """A renter outside the marketplace takes a server, or gives it back; spot orders wait."""
    settle(tx, now_ms, terms, effects, server=server)
    tx.do("UPDATE servers SET taken = ? WHERE id = ?", int(taken), server)
    effects.servers.add(server)
    reassign(tx, server, now_ms, terms, effects)
