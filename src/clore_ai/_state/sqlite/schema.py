"""The tables of the state folder's one file, in steps that run once, in this order. Pure.

The number of steps is the version of the file (``PRAGMA user_version``). The first four are those
of the file that held only the ledger; it is imported unchanged and continues from there.
"""

from __future__ import annotations

LEDGER_STEPS = 4
"""The number of steps of the former file that held only the ledger."""

STEPS = (
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
    # The marketplace of earlier keys is unknown.
    """
    CREATE TABLE keys (key TEXT PRIMARY KEY, account TEXT NOT NULL, place TEXT, ending TEXT);
    INSERT INTO keys SELECT account, account, NULL, NULL FROM (
        SELECT account FROM intents UNION SELECT account FROM balances
        UNION SELECT account FROM budgets);
    CREATE TABLE deposits (
        account TEXT NOT NULL, address TEXT NOT NULL, PRIMARY KEY (account, address))
    """,
    "ALTER TABLE intents ADD COLUMN missing_at REAL",
    "ALTER TABLE intents ADD COLUMN enforced TEXT NOT NULL DEFAULT 'always'",
    """
    ALTER TABLE intents RENAME COLUMN untold TO unacknowledged;
    CREATE TABLE seen (
        place TEXT NOT NULL, server_id INTEGER NOT NULL, owner INTEGER, at REAL NOT NULL,
        good INTEGER NOT NULL, reason TEXT, boot_s REAL, mbit_s REAL, disk_mb_s REAL,
        lost INTEGER NOT NULL);
    CREATE INDEX seen_of ON seen (place, at);
    CREATE TABLE blocked (
        place TEXT NOT NULL, kind TEXT NOT NULL, id INTEGER NOT NULL, at REAL NOT NULL, note TEXT,
        PRIMARY KEY (place, kind, id)) WITHOUT ROWID;
    CREATE TABLE jobs (id INTEGER PRIMARY KEY, record TEXT NOT NULL);
    CREATE TABLE bids (
        place TEXT NOT NULL, machine TEXT NOT NULL, order_id INTEGER NOT NULL,
        above REAL NOT NULL DEFAULT 0.0, lowered REAL, pilot TEXT,
        PRIMARY KEY (place, machine, order_id)) WITHOUT ROWID;
    CREATE TABLE pace (
        key TEXT NOT NULL, machine TEXT NOT NULL, noted REAL NOT NULL, next REAL NOT NULL,
        floor REAL NOT NULL, create_order REAL NOT NULL,
        PRIMARY KEY (key, machine)) WITHOUT ROWID
    """,
)
