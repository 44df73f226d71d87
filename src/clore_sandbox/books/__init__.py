"""Accounts, wallets and bills in the store; functions work within the transaction they are given.

Promises: money only moves between accounts, so each coin's total changes only by top-ups. A wallet
is never below zero.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from clore_sandbox.rules import billing
from clore_sandbox.store.schema import FIRST_ACCOUNT, FIRST_ORDER, FIRST_SERVER, MARKETPLACE
from clore_sandbox.values.money import COINS, MAX_UNITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from clore_sandbox.store import Row, Tx, Value

__all__ = [
    "account_of",
    "balance",
    "bill_of",
    "create_account",
    "deposit_mark",
    "next_number",
    "pay",
    "rotate_key",
    "settle_wallets",
    "top_up",
    "wallets",
    "write_bill",
]


_NUMBERED = {
    "account": ("SELECT MAX(id) FROM accounts", FIRST_ACCOUNT),
    "order": ("SELECT MAX(id) FROM orders", FIRST_ORDER),
    "server": ("SELECT MAX(id) FROM servers", FIRST_SERVER),
}
"""For each kind, the query for its highest number, and its first number."""


def next_number(tx: Tx, kind: str) -> int:
    """A number for a new account, order or server; two processes never get the same one."""
    number = tx.number("UPDATE counters SET value = value + 1 WHERE name = ? RETURNING value", kind)
    if not number:
        highest, first = _NUMBERED[kind]
        number = max(first, tx.number(highest) + 1)
        tx.do("INSERT INTO counters VALUES (?, ?)", kind, number)
    return number


def create_account(
    tx: Tx, api_key: str | None, balances: Mapping[str, int], *, label: str | None = None
) -> str:
    """Create an account with these units per coin, and return its key (None: a random one).

    Raises:
        ValueError: No header can carry the key.
    """
    key = _key(api_key)
    number = next_number(tx, "account")
    tx.do(
        "INSERT INTO accounts (id, api_key, label) VALUES (?, ?, ?)",
        number,
        key,
        label or f"…{key[-4:]}",
    )
    for coin in COINS:
        tx.do("INSERT INTO wallets VALUES (?, ?, ?)", number, coin, balances.get(coin, 0))
    return key


def _key(api_key: str | None) -> str:
    key = secrets.token_urlsafe(24) if api_key is None else api_key
    if not (key.isascii() and key.isprintable() and key.strip() == key != ""):
        raise ValueError("a key must be printable ASCII, without spaces around it")
    return key


def rotate_key(tx: Tx, account: int, api_key: str | None) -> str:
    """Replace an account's key (None: by a random one); the old one no longer works.

    Raises:
        ValueError: No header can carry the key.
    """
    key = _key(api_key)
    tx.do("UPDATE accounts SET api_key = ? WHERE id = ?", key, account)
    return key


def deposit_mark(tx: Tx, account: int) -> str:
    """The text from which an account's deposit addresses are derived, unique to the account.

    Its label comes from the account's first key, so that a rotation does not change it.
    """
    label = tx.one("SELECT label FROM accounts WHERE id = ?", account)
    state = tx.one("SELECT value FROM meta WHERE name = 'state'")
    return f"{state and state['value']} {account} {label and label['label']}"


def account_of(tx: Tx, api_key: str) -> int | None:
    """The account of a key."""
    row = tx.one("SELECT id FROM accounts WHERE api_key = ?", api_key)
    return None if row is None else int(row["id"])


def wallets(tx: Tx, account: int) -> dict[str, int]:
    """Units per coin."""
    rows = tx.all("SELECT coin, amount FROM wallets WHERE account = ?", account)
    return {row["coin"]: row["amount"] for row in rows}


def balance(tx: Tx, account: int, coin: str) -> int:
    """Units in one wallet; 0 if there is none."""
    return tx.number("SELECT amount FROM wallets WHERE account = ? AND coin = ?", account, coin)


def top_up(tx: Tx, account: int, coin: str, units: int) -> None:
    """Add units from outside; ValueError if the wallet cannot hold them."""
    if not _move(tx, coin, {account: units}):
        raise ValueError("more than a wallet can hold")


def pay(tx: Tx, source: int, coin: str, shares: Mapping[int, int]) -> None:
    """Pay each account its share, or nothing and raise ValueError."""
    total = sum(shares.values())
    if not _move(tx, coin, {**shares, source: shares.get(source, 0) - total}):
        raise ValueError(f"account {source} cannot pay {total} units of {coin}")


def _move(tx: Tx, coin: str, units: Mapping[int, int]) -> bool:
    """Change all of these wallets, or none and return False if one would be below 0 or too full."""
    changes = {account: by for account, by in units.items() if by}
    if not changes:
        return True
    each = " OR ".join(["account = ? AND amount BETWEEN ? AND ?"] * len(changes))
    sql = _MOVE.format(
        cases=" WHEN ? THEN ?" * len(changes), each=each, marks=", ".join("?" * len(changes))
    )
    values: list[Value] = [value for change in changes.items() for value in change]
    values += [coin, *changes, coin]
    for account, by in changes.items():
        values += [account, max(0, -by), min(MAX_UNITS, MAX_UNITS - by)]
    values.append(len(changes))
    if tx.do(sql, *values):
        return True
    # An owner in a captured body gets a wallet when it first earns.
    made = [tx.do(_NEW_WALLET, account, coin) for account in changes]
    return any(made) and bool(tx.do(sql, *values))


_MOVE = (
    "UPDATE wallets SET amount = amount + CASE account{cases} END"
    " WHERE coin = ? AND account IN ({marks})"
    " AND (SELECT COUNT(*) FROM wallets WHERE coin = ? AND ({each})) = ?"
)
_NEW_WALLET = "INSERT INTO wallets VALUES (?, ?, 0) ON CONFLICT (account, coin) DO NOTHING"


def bill_of(row: Row) -> billing.Bill:
    """The bill of an order's row."""
    return billing.Bill(
        order=row["id"],
        price=row["price"],
        fee_ppm=row["fee_ppm"],
        start_ms=row["start_ms"],
        last_ms=row["last_ms"],
        ticks=row["ticks"],
        base_spend=row["base_spend"],
        base_fee=row["base_fee"],
        creation_fee=billing.creation_fee(row["coin"]),
        creation_fee_ms=row["created_ms"] + billing.CREATION_FEE_AFTER_MS,
        creation_paid=row["creation_fee"],
        billed=bool(row["billed"]),
        ended_ms=row["ended_ms"],
        reason=row["reason"],
    )


def write_bill(tx: Tx, bill: billing.Bill, **besides: Value) -> None:
    """Store a bill and further columns in its order; `pay` moves the money."""
    columns: dict[str, Value] = {
        "price": bill.price,
        "start_ms": bill.start_ms,
        "ticks": bill.ticks,
        "base_spend": bill.base_spend,
        "base_fee": bill.base_fee,
        "billed": int(bill.billed),
        "spend": bill.spend,
        "fee": bill.fee,
        "creation_fee": bill.creation_paid,
        "due_ms": bill.next_event_ms,
        **besides,
    }
    changes = ", ".join(f"{name} = ?" for name in columns)
    # The names come from this package, not from a client.
    tx.do(f"UPDATE orders SET {changes} WHERE id = ?", *columns.values(), bill.order)  # noqa: S608


def settle_wallets(
    tx: Tx, purses: Iterable[tuple[int, str]], now_ms: int
) -> list[tuple[Row, billing.Bill]]:
    """Bill every running order that these wallets (account and coin) pay, up to `now_ms`.

    Returns the orders that must end now, with their bills; the caller ends them.
    """
    over: list[tuple[Row, billing.Bill]] = []
    # Always in the same order, so that two processes cannot deadlock.
    for account, coin in sorted(purses):
        rows = tx.all(
            "SELECT * FROM orders WHERE running = 1 AND ended_ms IS NULL AND account = ?"
            " AND coin = ? ORDER BY id",
            account,
            coin,
        )
        before = [bill_of(row) for row in rows]
        after, _ = billing.settle(before, balance(tx, account, coin), now_ms)
        shares: dict[int, int] = {}
        for row, old, new in zip(rows, before, after):
            if new != old:
                write_bill(tx, new)
                shares[row["host"]] = shares.get(row["host"], 0) + new.spend - old.spend
                shares[MARKETPLACE] = shares.get(MARKETPLACE, 0) + new.charges - old.charges
                if new.ended_ms is not None:
                    over.append((row, new))
        pay(tx, account, coin, shares)
    return over
