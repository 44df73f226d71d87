"""The local record: every intent to rent before it is sent, and what became of it.

Of all keys and marketplaces in one `Store`. It may do no network I/O; a write takes some
milliseconds of disk.

An intent goes from ``open`` to ``created``, ``refused`` or ``uncertain``; what is `uncertain` is
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
    """What stands under another account of the ledger, and may cost something or bind somebody."""

    account: Other
    orders: int
    """All that were ever rented."""
    running: list[Intent]
    """As far as is known."""
    unsettled: list[Intent]
    """Whose order may exist unseen."""
    budgets: list[Budget]


_RUNS = "state = 'created' AND ended_at IS NULL"
_UNSETTLED = "posted_at IS NOT NULL AND state IN ('open', 'uncertain')"


def account_of(base_url: str, api_key: str | None) -> str:
    """A name for one key at one service, from which the key can't be read."""
    return hashlib.sha256(f"{base_url}\n{api_key or ''}".encode()).hexdigest()[:16]


class Ledger:
    """The intents, balances and budgets of one account, in `folder` or in memory.

    `account` names the key in use, of the marketplace `place`, which ends in `ending`; what is kept
    belongs to the account that it opens (`keys`).

    All methods raise `ConfigError` where the file can't be read or written; before an order is
    sent that means that nothing was rented.
    """

    def __init__(
        self, store: Store | None = None, account: str = "", place: str = "", ending: str = ""
    ) -> None:
        self.store = store or Store()
        self.folder = self.store.folder
        self.keys = Keys(self.store, account, place, ending)
        self._holders: WeakValueDictionary[str, MemoryLock] = WeakValueDictionary()

    def begun(self) -> bool:
        """Is there a record yet? Asking makes no file, and never fails."""
        return self.store.begun()

    def names(self) -> frozenset[str]:
        """All keys of the account, by their names; the one in use where it can't be told."""
        with suppress(ConfigError):
            if self.begun():
                return self.keys.names()
        return frozenset([self.keys.key])

    def lock(self, name: str) -> FileLock | MemoryLock:
        """A lock among all who use this ledger; to be taken with `try_acquire`."""
        if self.folder is None:
            return MemoryLock(self._holders, name)
        # It says in one sentence what is wrong with the folder, too.
        account = self.store.run(self.keys.account)
        text = f"{account}\n{name}".encode("utf-8", "backslashreplace")
        digest = hashlib.sha256(text).hexdigest()[:16]
        return FileLock(folder_in(self.folder, "locks") / digest)

    @transaction
    def open(self, db: sqlite3.Connection, intent: Intent) -> Intent | None:
        """Record an intent before anything is sent.

        Under a `client_ref` that is taken nothing is recorded, and the earlier intent returned:
        of two with one `client_ref`, one rents.
        """
        account = self.keys.enter(db)
        earlier = self._by_ref(db, intent.client_ref)
        if earlier is None:
            insert(db, intent, account)
        return earlier

    def update(self, intent: Intent, **changes: Any) -> None:  # noqa: ANN401 - any field of Intent
        """Set fields of an intent, on disk first; others stay as they are there."""
        self.update_all([(intent, changes)])

    def update_all(self, changed: Iterable[tuple[Intent, dict[str, Any]]]) -> None:
        """As `update`, of several intents in one transaction."""
        todo = [(intent, changes) for intent, changes in changed if changes]

        def change(db: sqlite3.Connection) -> None:
            for intent, changes in todo:
                write(db, intent, changes)

        if todo:
            self.store.run(change)
            apply(todo)

    def claim(self, intent: Intent, order_id: int, changes: dict[str, Any]) -> bool:
        """Say that this order is this intent's, with what else is known; False if it is another's.

        A marketplace that was reset gives out its ids anew: an earlier order of the same id, but
        another `started_at`, makes room.
        """
        if intent.state != "created":  # it may say why its order was not known
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
        """The intent as it stands now; others may have changed it."""
        found = self._select(db, "id = ?", intent.id)
        return found[0] if found else intent

    @transaction
    def intents(self, db: sqlite3.Connection, limit: int = -1) -> list[Intent]:
        """All of this account, oldest first."""
        return self._select(db, "1", limit=limit)

    @transaction
    def running(self, db: sqlite3.Connection) -> list[Intent]:
        """Those whose order is billed, as far as is known."""
        return self._select(db, _RUNS)

    @transaction
    def unsettled(self, db: sqlite3.Connection) -> list[Intent]:
        """Those whose order may exist unseen: sent, and neither created nor refused."""
        return self._select(db, _UNSETTLED)

    def unacknowledged(self) -> list[Intent]:
        """Those that run, and whose order the user may not know of."""
        return [intent for intent in self.running() if intent.unacknowledged]

    @transaction
    def since(self, db: sqlite3.Connection, start: float) -> list[Intent]:
        """Those that may have cost something since `start`: neither refused nor ended before."""
        where = "state != 'refused' AND (ended_at IS NULL OR ended_at >= ?)"
        return self._select(db, where, start)

    @transaction
    def elsewhere(self, db: sqlite3.Connection) -> list[Elsewhere]:
        """The other accounts, of all marketplaces; not those under which nothing stands."""
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
        """Close the record with this number, of any account; None where it is not open.

        Nothing is asked of the service. Should its order be listed again, that is one which the
        ledger does not know.
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
        """What may be spent; none means without limit."""
        return self._budgets(db, self.keys.account(db))

    def _budgets(self, db: sqlite3.Connection, account: str) -> list[Budget]:
        rows = db.execute(
            "SELECT unit, per, amount FROM budgets WHERE account = ? ORDER BY unit, per",
            (account,),
        ).fetchall()
        return [read(Budget, dict(row)) for row in rows]

    @transaction
    def set_budget(self, db: sqlite3.Connection, budget: Budget) -> None:
        """Set a budget in place of that of the same unit and period, if any."""
        db.execute(
            "INSERT OR REPLACE INTO budgets VALUES (?, ?, ?, ?)",
            (self.keys.enter(db), budget.unit, budget.per, budget.amount),
        )

    @transaction
    def unset_budget(self, db: sqlite3.Connection, budget: Budget) -> None:
        """Lift the budget of this unit and period."""
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
        """The intent that `order_id` came of."""
        if not 0 < order_id <= LAST_ID:  # SQLite can't be asked for it
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
        """Say that what it held of this account was found again, as far as it can be."""
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
        """What the wallets hold, by coin, and their addresses.

        Of a balance that stays, the first and the last look are kept.
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
        """All that were noted, oldest first."""
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
