"""Maps each key to an account of the ledger, which belongs to the account, not to the key.

A new key starts an account of its own. The two accounts are joined for good once the service shows
the new key an order or a deposit address that the ledger already has under the other account of the
same marketplace. May do no network I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from clore_ai._state.store import Store, transaction

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection


def place_of(base_url: str) -> str:
    """A marketplace's name, without the password that a URL may contain."""
    found = urlsplit(base_url)
    return f"{found.scheme}://{found.netloc.rpartition('@')[2]}{found.path.rstrip('/')}"


@dataclass(frozen=True)
class Listed:
    """An order as the service lists it for the key in use."""

    order_id: int
    started_at: float | None
    """Unix seconds; without it the order proves nothing, since a reset marketplace reuses ids."""
    server_id: int | None


@dataclass(frozen=True)
class Joined:
    """Another account that turned out to be this one."""

    ending: str | None
    """The last characters of the other key; None if unknown."""
    order_id: int | None
    """The order that proves it; None if a deposit address does."""
    orders: int
    budgets: int


@dataclass(frozen=True)
class Other:
    """Another account of this ledger."""

    account: str
    ending: str | None
    place: str | None
    """None if an earlier version recorded it."""


class Keys:
    """The key in use, and the account that it is known to open.

    Every method that takes a connection works inside its transaction, so that an account that
    another process has joined meanwhile is never missed.
    """

    def __init__(self, store: Store, key: str, place: str = "", ending: str = "") -> None:
        self.store = store
        self.key, self.place, self.ending = key, place, ending

    def account(self, db: sqlite3.Connection) -> str:
        """The account's name: that of the first key that opened it."""
        row = db.execute("SELECT account FROM keys WHERE key = ?", (self.key,)).fetchone()
        return self.key if row is None else str(row["account"])

    def enter(self, db: sqlite3.Connection) -> str:
        """As `account`, and records the key."""
        db.execute(
            "INSERT INTO keys VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
            "place = coalesce(place, excluded.place), ending = coalesce(ending, excluded.ending)",
            (self.key, self.key, self.place or None, self.ending or None),
        )
        return self.account(db)

    @transaction
    def names(self, db: sqlite3.Connection) -> frozenset[str]:
        """All keys of the account, by their names."""
        rows = db.execute("SELECT key FROM keys WHERE account = ?", (self.account(db),)).fetchall()
        return frozenset([self.key, *(str(row["key"]) for row in rows)])

    def others(self, db: sqlite3.Connection, *, anywhere: bool = False) -> list[Other]:
        """The other accounts that this key might open; with `anywhere`, of all marketplaces."""
        rows = db.execute(
            "SELECT account, max(ending) AS ending, max(place) AS place FROM keys "
            "WHERE account != ? GROUP BY account ORDER BY min(rowid)",
            (self.account(db),),
        ).fetchall()
        found = [Other(row["account"], row["ending"], row["place"]) for row in rows]
        return [o for o in found if anywhere or o.place in (None, self.place)]

    @transaction
    def is_new(self, db: sqlite3.Connection) -> bool:
        """Is this the first use of this key, and are there accounts that it might open?"""
        known = db.execute("SELECT 1 FROM keys WHERE key = ?", (self.key,)).fetchone()
        return known is None and bool(self.others(db))

    @transaction
    def join(
        self,
        db: sqlite3.Connection,
        listed: Collection[Listed] = (),
        addresses: Collection[str] = (),
    ) -> list[Joined]:
        """Join the accounts that the evidence shows to be this one; returns those.

        `listed`, `addresses`: the orders and deposit addresses that the service showed to this key.
        """
        joined: list[Joined] = []
        for other in self.others(db):
            shown = self._shown(db, other, listed, addresses)
            if shown:
                joined.append(self._join(db, other, shown[0]))
        return joined

    @transaction
    def has_deposits(self, db: sqlite3.Connection) -> bool:
        """Is a deposit address of the account known?"""
        found = db.execute(
            "SELECT 1 FROM deposits WHERE account = ?", (self.account(db),)
        ).fetchone()
        return found is not None

    def _shown(
        self,
        db: sqlite3.Connection,
        other: Other,
        listed: Collection[Listed],
        addresses: Collection[str],
    ) -> list[int | None]:
        """The orders that prove it to be the same account; a None stands for a deposit address."""
        found: list[int | None] = []
        if listed:
            wanted = {each.order_id: each for each in listed}
            rows = db.execute(
                "SELECT order_id, started_at, server_id FROM intents "
                "WHERE account = ? AND order_id IS NOT NULL AND started_at IS NOT NULL",
                (other.account,),
            ).fetchall()
            found += [
                row["order_id"]
                for row in rows
                if wanted.get(row["order_id"])
                == Listed(row["order_id"], row["started_at"], row["server_id"])
            ]
        if addresses and not found:
            kept = db.execute(
                "SELECT address FROM deposits WHERE account = ?", (other.account,)
            ).fetchall()
            found += [None] * (not {row["address"] for row in kept}.isdisjoint(addresses))
        return found

    def _join(self, db: sqlite3.Connection, other: Other, order_id: int | None) -> Joined:
        """Move the records under this key to the earlier account."""
        mine, kept = self.enter(db), other.account

        def count(rows: str) -> int:
            query = f"SELECT count(*) FROM {rows} account = ?"  # noqa: S608 - our own names
            return int(db.execute(query, (kept,)).fetchone()[0])

        orders, budgets = count("intents WHERE state = 'created' AND"), count("budgets WHERE")
        joined = Joined(other.ending, order_id, orders, budgets)
        for statement in _MOVES:
            db.execute(statement, {"mine": mine, "kept": kept})
        return joined


_SAME = "FROM intents m WHERE m.account = :mine AND m.order_id = intents.order_id"
_MOVES = (
    # An order that was adopted again under the new key: its latest limits count.
    f"""UPDATE intents SET
        lease_s = (SELECT coalesce(m.lease_s, intents.lease_s) {_SAME}),
        ends_at = (SELECT coalesce(m.ends_at, intents.ends_at) {_SAME}),
        max_cost_usd = (SELECT coalesce(m.max_cost_usd, intents.max_cost_usd) {_SAME})
        WHERE account = :kept AND EXISTS (SELECT 1 {_SAME})""",  # noqa: S608 - our own words
    """DELETE FROM intents WHERE account = :mine AND order_id IN (
        SELECT order_id FROM intents WHERE account = :kept AND order_id IS NOT NULL)""",
    # A ref stands for the latest order that was rented under it.
    """UPDATE intents SET client_ref = NULL WHERE account = :kept AND client_ref IN (
        SELECT client_ref FROM intents
        WHERE account = :mine AND state != 'refused' AND client_ref IS NOT NULL)""",
    "UPDATE intents SET account = :kept WHERE account = :mine",
    "UPDATE balances SET account = :kept WHERE account = :mine",
    # The smaller of two budgets counts: spending never exceeds either.
    """DELETE FROM budgets WHERE account = :mine AND EXISTS (
        SELECT 1 FROM budgets k WHERE k.account = :kept AND k.unit = budgets.unit
        AND k.per = budgets.per AND k.amount <= budgets.amount)""",
    "UPDATE OR REPLACE budgets SET account = :kept WHERE account = :mine",
    "UPDATE OR REPLACE deposits SET account = :kept WHERE account = :mine",
    "UPDATE OR REPLACE facts SET name = 'mended ' || :kept WHERE name = 'mended ' || :mine",
    "UPDATE keys SET account = :kept WHERE account = :mine",
)
