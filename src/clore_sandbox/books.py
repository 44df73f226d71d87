"""Wallets and bills in the store; every function works inside the transaction it is given.

Promises: money only moves, from one account to another, so each coin's sum over all accounts
changes by top-ups alone. A wallet is never below zero.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from clore_sandbox import billing
from clore_sandbox.money import COINS, MAX_UNITS
from clore_sandbox.schema import FIRST_ACCOUNT, MARKETPLACE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clore_sandbox.store import Row, Tx

__all__ = [
    "Ended",
    "account_of",
    "balance",
    "bill_of",
    "create_account",
    "move",
    "settle_due",
    "top_up",
    "wallets",
    "write_bill",
]


@dataclass(frozen=True)
class Ended:
    """An order that has ended, and the server it leaves."""

    order: int
    server: int


def create_account(tx: Tx, api_key: Optional[str], balances: Mapping[str, int]) -> str:
    """A new account with these units per coin; its key. The key is drawn where none is given."""
    key = api_key or secrets.token_urlsafe(24)
    number = max(FIRST_ACCOUNT, tx.number("SELECT MAX(id) FROM accounts") + 1)
    tx.do("INSERT INTO accounts (id, api_key, label) VALUES (?, ?, ?)", number, key, f"…{key[-4:]}")
    for coin in COINS:
        tx.do("INSERT INTO wallets VALUES (?, ?, ?)", number, coin, balances.get(coin, 0))
    return key


def account_of(tx: Tx, api_key: str) -> Optional[int]:
    """The account of a key."""
    row = tx.one("SELECT id FROM accounts WHERE api_key = ?", api_key)
    return None if row is None else int(row["id"])


def wallets(tx: Tx, account: int) -> dict[str, int]:
    """Units per coin."""
    rows = tx.all("SELECT coin, amount FROM wallets WHERE account = ?", account)
    return {row["coin"]: row["amount"] for row in rows}


def balance(tx: Tx, account: int, coin: str) -> int:
    """Units in one wallet; 0 where there is none."""
    return tx.number("SELECT amount FROM wallets WHERE account = ? AND coin = ?", account, coin)


def top_up(tx: Tx, account: int, coin: str, units: int) -> None:
    """Add units that come from outside."""
    if balance(tx, account, coin) + units > MAX_UNITS:
        raise ValueError("more than a wallet can hold")
    tx.do(
        "INSERT INTO wallets (account, coin, amount) VALUES (?, ?, ?)"
        " ON CONFLICT (account, coin) DO UPDATE SET amount = wallets.amount + excluded.amount",
        account,
        coin,
        units,
    )


def move(tx: Tx, source: int, target: int, coin: str, units: int) -> None:
    """Pay; ValueError, and so a rolled back transaction, where the source has not enough."""
    if units == 0:
        return
    paid = tx.do(
        "UPDATE wallets SET amount = amount - ? WHERE account = ? AND coin = ? AND amount >= ?",
        units,
        source,
        coin,
        units,
    )
    if not paid:
        raise ValueError(f"account {source} cannot pay {units} units of {coin}")
    top_up(tx, target, coin, units)


def bill_of(row: Row) -> billing.Bill:
    """The bill of an order's row."""
    return billing.Bill(
        order=row["id"],
        price=row["price"],
        fee_ppm=row["fee_ppm"],
        start_ms=row["start_ms"],
        last_ms=row["last_ms"],
        ticks=row["ticks"],
        ended_ms=row["ended_ms"],
        reason=row["reason"],
    )


def write_bill(tx: Tx, row: Row, bill: billing.Bill) -> None:
    """Take from the renter what the bill has grown by, and note it on the order."""
    move(tx, row["account"], row["host"], row["coin"], bill.spend - row["spend"])
    move(tx, row["account"], MARKETPLACE, row["coin"], bill.fee - row["fee"])
    tx.do(
        "UPDATE orders SET ticks = ?, spend = ?, fee = ?, due_ms = ?, running = ?, ended_ms = ?,"
        " reason = ? WHERE id = ?",
        bill.ticks,
        bill.spend,
        bill.fee,
        min(bill.due_ms, bill.last_ms),
        int(bill.ended_ms is None),
        bill.ended_ms,
        bill.reason,
        bill.order,
    )


def settle_due(tx: Tx, now_ms: int) -> list[Ended]:
    """Bill every order whose next tick has begun; the orders that ended over it."""
    ended: list[Ended] = []
    due = tx.all(
        "SELECT DISTINCT account, coin FROM orders WHERE running = 1 AND due_ms <= ?", now_ms
    )
    for wallet in due:
        rows = tx.all(
            "SELECT * FROM orders WHERE running = 1 AND account = ? AND coin = ? ORDER BY id",
            wallet["account"],
            wallet["coin"],
        )
        bills, _ = billing.settle(
            [bill_of(row) for row in rows],
            balance(tx, wallet["account"], wallet["coin"]),
            now_ms,
        )
        for row, bill in zip(rows, bills):
            write_bill(tx, row, bill)
            if bill.ended_ms is not None:
                ended.append(Ended(row["id"], row["server"]))
    return ended
