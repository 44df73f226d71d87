"""The local record: every intent to rent before it is sent, and what became of it.

One SQLite file for all keys and marketplaces of a state folder, or memory where a client has
none. Safe for threads and for many processes. It may do no network I/O; a write takes some
milliseconds of disk.

An intent goes from ``open`` to ``created``, ``refused`` or ``uncertain``; what is `uncertain` is
settled by a later look at the orders (`clore_ai.rental.orders.reconcile`).
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, cast, get_args

from clore_ai._state.accounts import STEP, Keys, Other
from clore_ai._state.database import Database
from clore_ai._state.folder import folder_in
from clore_ai._state.lock import FileLock, MemoryLock
from clore_ai._state.rows import DamagedError, read
from clore_ai._values.kinds import LAST_ID
from clore_ai.exceptions import ConfigError
from clore_ai.models.records import Balance, Budget, Enforced, Intent, State

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from pathlib import Path


FILE = "ledger.sqlite"

_STEPS = (
    """
    CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE intents (
        id INTEGER PRIMARY KEY, account TEXT NOT NULL, server_id INTEGER NOT NULL,
        type TEXT NOT NULL, currency TEXT NOT NULL, image TEXT NOT NULL, client_ref TEXT,
        purpose TEXT, state TEXT NOT NULL, reason TEXT, opened_at REAL NOT NULL, posted_at REAL,
        answered_at REAL, newest_id INTEGER, known_ids TEXT NOT NULL, order_id INTEGER, gpu TEXT,
        price REAL, usd_per_coin REAL, creation_fee REAL, started_at REAL, mrl_s REAL, lease_s REAL,
        ends_at REAL, max_cost_usd REAL, spend REAL, seen_at REAL, ended_at REAL,
        untold INTEGER NOT NULL DEFAULT 0);
    CREATE UNIQUE INDEX one_intent_an_order ON intents (account, order_id)
        WHERE order_id IS NOT NULL;
    CREATE UNIQUE INDEX one_intent_a_ref ON intents (account, client_ref)
        WHERE client_ref IS NOT NULL AND state != 'refused';
    CREATE TABLE balances (
        account TEXT NOT NULL, coin TEXT NOT NULL, at REAL NOT NULL, balance REAL NOT NULL);
    CREATE INDEX latest_balance ON balances (account, coin, at);
    CREATE TABLE budgets (
        account TEXT NOT NULL, unit TEXT NOT NULL, per TEXT NOT NULL, amount REAL NOT NULL,
        PRIMARY KEY (account, unit, per))
    """,
    STEP,
    "ALTER TABLE intents ADD COLUMN missing_at REAL",
    "ALTER TABLE intents ADD COLUMN enforced TEXT NOT NULL DEFAULT 'always'",
)


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
_COLUMNS = [f.name for f in fields(Intent)]


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
        self, folder: Path | None = None, account: str = "", place: str = "", ending: str = ""
    ) -> None:
        self.folder = folder
        self._database = Database(None if folder is None else folder / FILE, _STEPS)
        self.keys = Keys(self._database, account, place, ending)
        self._threads = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def close(self) -> None:
        """Close the file; what was in memory stays until the ledger is gone."""
        if self.folder is not None:
            self._database.close()

    def begun(self) -> bool:
        """Is there a record yet? Asking makes no file, and never fails."""
        return self.folder is None or os.path.lexists(self.folder / FILE)

    def names(self) -> frozenset[str]:
        """All keys of the account, by their names; the one in use where it can't be told."""
        with suppress(ConfigError):
            if self.begun():
                return self.keys.names()
        return frozenset([self.keys.key])

    def lock(self, name: str) -> FileLock | MemoryLock:
        """A lock among all who use this ledger; to be taken with `try_acquire`."""
        if self.folder is None:
            with self._threads:
                return MemoryLock(self._locks.setdefault(name, threading.Lock()))
        # It says in one sentence what is wrong with the folder, too.
        with self._database.transaction(write=False) as db:
            account = self.keys.account(db)
        text = f"{account}\n{name}".encode("utf-8", "backslashreplace")
        digest = hashlib.sha256(text).hexdigest()[:16]
        return FileLock(folder_in(self.folder, "locks") / digest)

    def open(self, intent: Intent) -> Intent | None:
        """Record an intent before anything is sent.

        Under a `client_ref` that is taken nothing is recorded, and the earlier intent returned:
        of two with one `client_ref`, one rents.
        """
        row = {name: value for name, value in _row(intent).items() if name != "id"}
        with self._database.transaction() as db:
            row["account"] = self.keys.enter(db)
            names = ", ".join(row)
            marks = ", ".join("?" for _ in row)
            earlier = self._by_ref(db, intent.client_ref)
            if earlier is None:
                done = db.execute(
                    f"INSERT INTO intents ({names}) VALUES ({marks})",  # noqa: S608 - our own names
                    list(row.values()),
                )
                intent.id = done.lastrowid
            return earlier

    def update(self, intent: Intent, **changes: Any) -> None:  # noqa: ANN401 - any field of Intent
        """Set fields of an intent, on disk first; others stay as they are there."""
        self.update_all([(intent, changes)])

    def update_all(self, changed: Iterable[tuple[Intent, dict[str, Any]]]) -> None:
        """As `update`, of several intents in one transaction."""
        todo = [(intent, changes) for intent, changes in changed if changes]
        if not todo:
            return
        with self._database.transaction() as db:
            for intent, changes in todo:
                _write(db, intent, changes)
        for intent, changes in todo:
            _set(intent, changes)

    def claim(self, intent: Intent, order_id: int, changes: dict[str, Any]) -> bool:
        """Say that this order is this intent's, with what else is known; False if it is another's.

        A marketplace that was reset gives out its ids anew: an earlier order of the same id, but
        another `started_at`, makes room.
        """
        started_at = changes.get("started_at", intent.started_at)
        if intent.state != "created":  # it may say why its order was not known
            changes = {"reason": None, **changes}
        changes = {**changes, "order_id": order_id, "state": "created"}
        with self._database.transaction() as db:
            holder = self._select(db, "order_id = ?", order_id)
            if holder and holder[0].id != intent.id:
                if None in (started_at, holder[0].started_at) or (
                    started_at == holder[0].started_at
                ):
                    return False
                db.execute(
                    "UPDATE intents SET order_id = NULL, ended_at = coalesce(ended_at, ?), "
                    "reason = coalesce(reason, ?) WHERE id = ?",
                    (started_at, f"order {order_id} of a service that was reset", holder[0].id),
                )
            _write(db, intent, changes)
        _set(intent, changes)
        return True

    def reread(self, intent: Intent) -> Intent:
        """The intent as it stands now; others may have changed it."""
        with self._database.transaction(write=False) as db:
            found = self._select(db, "id = ?", intent.id)
        return found[0] if found else intent

    def intents(self, limit: int = -1) -> list[Intent]:
        """All of this account, oldest first."""
        with self._database.transaction(write=False) as db:
            return self._select(db, "1", limit=limit)

    def running(self) -> list[Intent]:
        """Those whose order is billed, as far as is known."""
        with self._database.transaction(write=False) as db:
            return self._select(db, _RUNS)

    def unsettled(self) -> list[Intent]:
        """Those whose order may exist unseen: sent, and neither created nor refused."""
        with self._database.transaction(write=False) as db:
            return self._select(db, _UNSETTLED)

    def untold(self) -> list[Intent]:
        """Those that run, and whose order the user may not know of."""
        return [intent for intent in self.running() if intent.untold]

    def since(self, start: float) -> list[Intent]:
        """Those that may have cost something since `start`: neither refused nor ended before."""
        with self._database.transaction(write=False) as db:
            where = "state != 'refused' AND (ended_at IS NULL OR ended_at >= ?)"
            return self._select(db, where, start)

    def elsewhere(self) -> list[Elsewhere]:
        """The other accounts, of all marketplaces; not those under which nothing stands."""
        found: list[Elsewhere] = []
        with self._database.transaction(write=False) as db:
            for other in self.keys.others(db, anywhere=True):
                name = other.account
                orders = len(self._select(db, "state = 'created'", account=name))
                running = self._select(db, _RUNS, account=name)
                unsettled = self._select(db, _UNSETTLED, account=name)
                budgets = self._budgets(db, name)
                if orders or unsettled or budgets:
                    found.append(Elsewhere(other, orders, running, unsettled, budgets))
        return found

    def give_up(self, number: int, at: float) -> Intent | None:
        """Close the record with this number, of any account; None where it is not open.

        Nothing is asked of the service. Should its order be listed again, that is one which the
        ledger does not know.
        """
        with self._database.transaction() as db:
            rows = db.execute(
                f"SELECT * FROM intents WHERE id = ? AND (({_RUNS}) OR ({_UNSETTLED}))",  # noqa: S608 - our own words
                (number,),
            ).fetchall()
            if not rows:
                return None
            intent = _intent(rows[0])
            changes: dict[str, Any] = {"state": "refused", "reason": "closed by hand"}
            if intent.state == "created":
                changes = {
                    "order_id": None,
                    "ended_at": intent.seen_at or at,
                    "reason": f"order {intent.order_id}: closed by hand",
                }
            _write(db, intent, changes)
        return intent

    def budgets(self) -> list[Budget]:
        """What may be spent; none means without limit."""
        with self._database.transaction(write=False) as db:
            return self._budgets(db, self.keys.account(db))

    def _budgets(self, db: sqlite3.Connection, account: str) -> list[Budget]:
        rows = db.execute(
            "SELECT unit, per, amount FROM budgets WHERE account = ? ORDER BY unit, per",
            (account,),
        )
        return [read(Budget, dict(row)) for row in rows]

    def set_budget(self, budget: Budget) -> None:
        """Set a budget in place of that of the same unit and period, if any."""
        with self._database.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO budgets VALUES (?, ?, ?, ?)",
                (self.keys.enter(db), budget.unit, budget.per, budget.amount),
            )

    def unset_budget(self, budget: Budget) -> None:
        """Lift the budget of this unit and period."""
        with self._database.transaction() as db:
            db.execute(
                "DELETE FROM budgets WHERE account = ? AND unit = ? AND per = ?",
                (self.keys.account(db), budget.unit, budget.per),
            )

    def by_ref(self, client_ref: str) -> Intent | None:
        """The intent under `client_ref` that was not refused."""
        with self._database.transaction(write=False) as db:
            return self._by_ref(db, client_ref)

    def by_order(self, order_id: int) -> Intent | None:
        """The intent that `order_id` came of."""
        if not 0 < order_id <= LAST_ID:  # SQLite can't be asked for it
            return None
        with self._database.transaction(write=False) as db:
            found = self._select(db, "order_id = ?", order_id)
        return found[0] if found else None

    def claimed(self) -> set[int]:
        """The ids of all orders that have an intent."""
        with self._database.transaction(write=False) as db:
            rows = db.execute(
                "SELECT order_id FROM intents WHERE account = ? AND order_id IS NOT NULL",
                (self.keys.account(db),),
            )
            return {row[0] for row in rows}

    def damaged(self) -> str | None:
        """Where a damaged ledger was moved to, until `mended` is called; None if none was."""
        with self._database.transaction(write=False) as db:
            row = db.execute(
                "SELECT value FROM facts WHERE name = 'damaged' AND NOT EXISTS "
                "(SELECT 1 FROM facts WHERE name = ?)",
                (f"mended {self.keys.account(db)}",),
            ).fetchone()
        return None if row is None else str(row[0])

    def check_loss(self) -> None:
        """Before something is rented: budgets and refs may just have been lost. Said once.

        Raises:
            ConfigError: the ledger was found damaged by this process, and begun anew.
        """
        self.intents(0)
        aside, self._database.aside = self._database.aside, None
        if aside is not None:
            raise ConfigError(
                f"The ledger was damaged, so nothing was rented: it is kept as {aside}, and a new "
                "one was begun. Your budgets are lost, and what was rented under a ref is not "
                "known by it: see clore orders, set budgets anew (clore budget set), and run the "
                "command again."
            )

    def mended(self) -> None:
        """Say that what it held of this account was found again, as far as it can be."""
        with self._database.transaction() as db:
            done = f"mended {self.keys.account(db)}"
            db.execute("INSERT OR IGNORE INTO facts VALUES (?, '')", (done,))

    def note_wallets(
        self, balances: dict[str, float], at: float, deposits: Iterable[str] = ()
    ) -> None:
        """What the wallets hold, by coin, and their addresses.

        Of a balance that stays, the first and the last look are kept.
        """
        with self._database.transaction() as db:
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

    def balances(self) -> list[Balance]:
        """All that were noted, oldest first."""
        with self._database.transaction(write=False) as db:
            rows = db.execute(
                "SELECT coin, at, balance FROM balances WHERE account = ? ORDER BY rowid",
                (self.keys.account(db),),
            )
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
        )
        return [_intent(row) for row in rows]

    def _by_ref(self, db: sqlite3.Connection, client_ref: str | None) -> Intent | None:
        if client_ref is None:
            return None
        found = self._select(db, "client_ref = ? AND state != 'refused'", _plain(client_ref))
        return found[0] if found else None


def _plain(value: object) -> object:
    """As a column holds it; a byte of a command line that is no character is written out."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return (
        json.dumps(sorted(cast("frozenset[int]", value))) if isinstance(value, frozenset) else value
    )


def _row(intent: Intent) -> dict[str, object]:
    return {name: _plain(getattr(intent, name)) for name in _COLUMNS}


def _write(db: sqlite3.Connection, intent: Intent, changes: dict[str, Any]) -> None:
    row = {name: _plain(value) for name, value in changes.items()}
    names = ", ".join(f"{name} = ?" for name in row)
    db.execute(
        f"UPDATE intents SET {names} WHERE id = ?",  # noqa: S608 - our own names
        [*row.values(), intent.id],
    )


def _set(intent: Intent, changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        setattr(intent, name, value)


def _intent(row: sqlite3.Row) -> Intent:
    values = {name: row[name] for name in _COLUMNS}
    try:
        known_ids = frozenset(json.loads(values["known_ids"]))
    except (TypeError, ValueError, RecursionError) as exc:
        raise DamagedError(f"a row's known_ids can't be read: {exc}") from exc
    intent = read(Intent, {**values, "known_ids": ""})
    if intent.state not in get_args(State):
        raise DamagedError(f"a row's state can't be {intent.state!r}")
    if intent.enforced not in get_args(Enforced):
        raise DamagedError(f"a row's enforced can't be {intent.enforced!r}")
    intent.known_ids = known_ids
    return intent
