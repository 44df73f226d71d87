"""The local record: every intent to rent, written before it is sent, and its outcome.

It covers all keys and marketplaces in one `Store`. May do no network I/O; a write takes some
milliseconds of disk time.

An intent goes from ``open`` to ``created``, ``refused`` or ``uncertain``. An uncertain one is
settled by a later look at the orders (`clore_ai.rental.orders.reconcile`).
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from clore_ai._state.accounts import Keys, Other
from clore_ai._state.folder import folder_in
from clore_ai._state.lock import FileLock, MemoryLock
from clore_ai._state.sqlite.intent_rows import apply, insert, intent_of, plain, write
from clore_ai._state.sqlite.rows import read
from clore_ai._state.store import Store, transaction
from clore_ai._values.kinds import LAST_ID
from clore_ai.exceptions import ConfigError
from clore_ai.models.records import Balance, Budget, Intent

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable


@dataclass(frozen=True)
class Elsewhere:
    """The records under another account of the ledger that may cost money or still matter."""

    account: Other
    orders: int
    """The number of all orders ever rented."""
    running: list[Intent]
    """Orders that run, as far as is known."""
    unsettled: list[Intent]
    """Intents whose order may exist but was not found."""
    budgets: list[Budget]


_RUNS = "state = 'created' AND ended_at IS NULL"
_UNSETTLED = "posted_at IS NOT NULL AND state IN ('open', 'uncertain')"


def account_of(base_url: str, api_key: str | None) -> str:
    """A name for one key at one service that does not reveal the key."""
    return hashlib.sha256(f"{base_url}\n{api_key or ''}".encode()).hexdigest()[:16]


class Ledger:
    """The intents, balances and budgets of one account, in `folder` or in memory.

    `account` names the key in use, of the marketplace `place`, which ends in `ending`. Records
    belong to the account that the key opens (`keys`).

    All methods raise `ConfigError` if the file can't be read or written; before an order is sent,
    that means that nothing was rented.
    """

    def __init__(
        self, store: Store | None = None, account: str = "", place: str = "", ending: str = ""
    ) -> None:
        self.store = store or Store()
        self.folder = self.store.folder
        self.keys = Keys(self.store, account, place, ending)
        self._holders: WeakValueDictionary[str, MemoryLock] = WeakValueDictionary()

    def begun(self) -> bool:
        """Is there a record yet? This creates no file and never fails."""
        return self.store.begun()

    def names(self) -> frozenset[str]:
        """The names of all keys of the account; only the one in use if the store can't be read."""
        with suppress(ConfigError):
            if self.begun():
                return self.keys.names()
        return frozenset([self.keys.key])

    def lock(self, name: str) -> FileLock | MemoryLock:
        """A lock that all users of this ledger share; take it with `try_acquire`."""
        if self.folder is None:
            return MemoryLock(self._holders, name)
        # It also reports in one sentence what is wrong with the folder.
        account = self.store.run(self.keys.account)
        text = f"{account}\n{name}".encode("utf-8", "backslashreplace")
        digest = hashlib.sha256(text).hexdigest()[:16]
        return FileLock(folder_in(self.folder, "locks") / digest)

    def held(self, name: str) -> bool:
        """Does anybody have this `lock`?"""
        lock = self.lock(name)
        is_free = lock.try_acquire()
        lock.release()
        return not is_free

    @transaction
    def open(self, db: sqlite3.Connection, intent: Intent) -> Intent | None:
        """Record an intent before anything is sent.

        If the `client_ref` is taken, nothing is recorded and the earlier intent is returned: of two
        with the same `client_ref`, only one rents.
        """
        account = self.keys.enter(db)
        earlier = self._by_ref(db, intent.client_ref)
        if earlier is None:
            insert(db, intent, account)
        return earlier

    def update(self, intent: Intent, **changes: Any) -> None:  # noqa: ANN401 - any field of Intent
        """Set fields of an intent, first on disk; other fields are unchanged."""
        self.update_all([(intent, changes)])

    def update_all(self, changed: Iterable[tuple[Intent, dict[str, Any]]]) -> None:
        """As `update`, for several intents in one transaction."""
        todo = [(intent, changes) for intent, changes in changed if changes]

        def change(db: sqlite3.Connection) -> None:
            for intent, changes in todo:
                write(db, intent, changes)

        if todo:
            self.store.run(change)
            apply(todo)

    def claim(self, intent: Intent, order_id: int, changes: dict[str, Any]) -> bool:
        """Record that this order belongs to this intent; False if it belongs to another.

        A marketplace that was reset reuses its ids: an earlier order with the same id but another
        `started_at` is superseded.
        """
        if intent.state != "created":  # it may hold the reason why its order was unknown
            changes = {"reason": None, **changes}
        changes = {**changes, "order_id": order_id, "state": "created"}
        mine = self._claim(intent, order_id, changes)
        if mine:
            apply([(intent, changes)])
        return mine

    @transaction
    def _claim(
        self, db: sqlite3.Connection, intent: Intent, order_id: int, changes: dict[str, Any]
    ) -> bool:
        started_at = changes.get("started_at", intent.started_at)
        holder = self._select(db, "order_id = ?", order_id)
        if holder and holder[0].id != intent.id:
            if None in (started_at, holder[0].started_at) or started_at == holder[0].started_at:
                return False
            db.execute(
                "UPDATE intents SET order_id = NULL, ended_at = coalesce(ended_at, ?), "
                "reason = coalesce(reason, ?) WHERE id = ?",
                (started_at, f"order {order_id} of a service that was reset", holder[0].id),
            )
        write(db, intent, changes)
        return True

    @transaction
    def reread(self, db: sqlite3.Connection, intent: Intent) -> Intent:
        """The current intent, which other processes may have changed."""
        found = self._select(db, "id = ?", intent.id)
        return found[0] if found else intent

    @transaction
    def intents(self, db: sqlite3.Connection, limit: int = -1) -> list[Intent]:
        """All intents of this account, oldest first."""
        return self._select(db, "1", limit=limit)

    @transaction
    def newest(self, db: sqlite3.Connection) -> int:
        """The number of the latest intent, for `after`."""
        (number,) = db.execute("SELECT coalesce(max(id), 0) FROM intents").fetchone()
        return int(number)

    @transaction
    def after(self, db: sqlite3.Connection, number: int) -> list[Intent]:
        """Those that were made since `newest` was `number`; not those that were refused."""
        return self._select(db, "id > ? AND state != 'refused'", number)

    @transaction
    def running(self, db: sqlite3.Connection) -> list[Intent]:
        """The intents whose order is billed, as far as is known."""
        return self._select(db, _RUNS)

    @transaction
    def unsettled(self, db: sqlite3.Connection) -> list[Intent]:
        """The intents whose order may exist unseen: sent, and neither created nor refused."""
        return self._select(db, _UNSETTLED)

    def unacknowledged(self) -> list[Intent]:
        """The running orders that the user may not know of."""
        return [intent for intent in self.running() if intent.unacknowledged]

    @transaction
    def since(self, db: sqlite3.Connection, start: float) -> list[Intent]:
        """The intents that may have cost money since `start`: neither refused nor ended before."""
        where = "state != 'refused' AND (ended_at IS NULL OR ended_at >= ?)"
        return self._select(db, where, start)

    @transaction
    def elsewhere(self, db: sqlite3.Connection) -> list[Elsewhere]:
        """The other accounts of all marketplaces, without empty ones."""
        found: list[Elsewhere] = []
        for other in self.keys.others(db, anywhere=True):
            name = other.account
            orders = len(self._select(db, "state = 'created'", account=name))
            running = self._select(db, _RUNS, account=name)
            unsettled = self._select(db, _UNSETTLED, account=name)
            budgets = self._budgets(db, name)
            if orders or unsettled or budgets:
                found.append(Elsewhere(other, orders, running, unsettled, budgets))
        return found

    @transaction
    def give_up(self, db: sqlite3.Connection, number: int, at: float) -> Intent | None:
        """Close the record with this number, of any account; None if it is not open.

        No request is sent. If its order is listed again, the ledger does not know that order.
        """
        rows = db.execute(
            f"SELECT * FROM intents WHERE id = ? AND (({_RUNS}) OR ({_UNSETTLED}))",  # noqa: S608 - our own words
            (number,),
        ).fetchall()
        if not rows:
            return None
        intent = intent_of(rows[0])
        changes: dict[str, Any] = {"state": "refused", "reason": "closed by hand"}
        if intent.state == "created":
            changes = {
                "order_id": None,
                "ended_at": intent.seen_at or at,
                "reason": f"order {intent.order_id}: closed by hand",
            }
        write(db, intent, changes)
        return intent

    @transaction
    def budgets(self, db: sqlite3.Connection) -> list[Budget]:
        """The budgets; none means no limit."""
        return self._budgets(db, self.keys.account(db))

    def _budgets(self, db: sqlite3.Connection, account: str) -> list[Budget]:
        rows = db.execute(
            "SELECT unit, per, amount FROM budgets WHERE account = ? ORDER BY unit, per",
            (account,),
        ).fetchall()
        return [read(Budget, dict(row)) for row in rows]

    @transaction
    def set_budget(self, db: sqlite3.Connection, budget: Budget) -> None:
        """Set a budget; it replaces one of the same unit and period."""
        db.execute(
            "INSERT OR REPLACE INTO budgets VALUES (?, ?, ?, ?)",
            (self.keys.enter(db), budget.unit, budget.per, budget.amount),
        )

    @transaction
    def unset_budget(self, db: sqlite3.Connection, budget: Budget) -> None:
        """Remove the budget of this unit and period."""
        db.execute(
            "DELETE FROM budgets WHERE account = ? AND unit = ? AND per = ?",
            (self.keys.account(db), budget.unit, budget.per),
        )

    @transaction
    def by_ref(self, db: sqlite3.Connection, client_ref: str) -> Intent | None:
        """The intent under `client_ref` that was not refused."""
        return self._by_ref(db, client_ref)

    @transaction
    def by_order(self, db: sqlite3.Connection, order_id: int) -> Intent | None:
        """The intent that led to `order_id`."""
        if not 0 < order_id <= LAST_ID:  # SQLite can't hold such a number
            return None
        found = self._select(db, "order_id = ?", order_id)
        return found[0] if found else None

    @transaction
    def claimed(self, db: sqlite3.Connection) -> set[int]:
        """The ids of all orders that have an intent."""
        rows = db.execute(
            "SELECT order_id FROM intents WHERE account = ? AND order_id IS NOT NULL",
            (self.keys.account(db),),
        ).fetchall()
        return {row[0] for row in rows}

    @transaction
    def damaged(self, db: sqlite3.Connection) -> str | None:
        """Where a damaged ledger was moved to, until `mended` is called; None if none was."""
        row = db.execute(
            "SELECT value FROM facts WHERE name = 'damaged' AND NOT EXISTS "
            "(SELECT 1 FROM facts WHERE name = ?)",
            (f"mended {self.keys.account(db)}",),
        ).fetchone()
        return None if row is None else str(row[0])

    @transaction
    def mended(self, db: sqlite3.Connection) -> None:
        """Record that what it held of this account was recovered, as far as possible."""
        done = f"mended {self.keys.account(db)}"
        db.execute("INSERT OR IGNORE INTO facts VALUES (?, '')", (done,))

    @transaction
    def note_wallets(
        self,
        db: sqlite3.Connection,
        balances: dict[str, float],
        at: float,
        deposits: Iterable[str] = (),
    ) -> None:
        """Record the wallets' balances, by coin, and their addresses.

        Of an unchanged balance, the first and the last look are kept.
        """
        account = self.keys.enter(db)
        rows = [(account, address) for address in deposits]
        db.executemany("INSERT OR IGNORE INTO deposits VALUES (?, ?)", rows)
        for coin, balance in balances.items():
            last = db.execute(
                "SELECT rowid, balance FROM balances WHERE account = ? AND coin = ? "
                "ORDER BY rowid DESC LIMIT 2",
                (account, coin),
            ).fetchall()
            if [row["balance"] for row in last] == [balance, balance]:
                db.execute("UPDATE balances SET at = ? WHERE rowid = ?", (at, last[0]["rowid"]))
            else:
                db.execute(
                    "INSERT INTO balances VALUES (?, ?, ?, ?)",
                    (account, coin, at, balance),
                )

    @transaction
    def balances(self, db: sqlite3.Connection) -> list[Balance]:
        """All recorded balances, oldest first."""
        rows = db.execute(
            "SELECT coin, at, balance FROM balances WHERE account = ? ORDER BY rowid",
            (self.keys.account(db),),
        ).fetchall()
        return [read(Balance, dict(row)) for row in rows]

    def _select(
        self,
        db: sqlite3.Connection,
        where: str,
        *values: object,
        limit: int = -1,
        account: str | None = None,
    ) -> list[Intent]:
        rows = db.execute(
            f"SELECT * FROM intents WHERE account = ? AND ({where}) ORDER BY id LIMIT ?",  # noqa: S608 - our own words
            (account or self.keys.account(db), *values, limit),
        ).fetchall()
        return [intent_of(row) for row in rows]

    def _by_ref(self, db: sqlite3.Connection, client_ref: str | None) -> Intent | None:
        if client_ref is None:
            return None
        found = self._select(db, "client_ref = ? AND state != 'refused'", plain(client_ref))
        return found[0] if found else None
