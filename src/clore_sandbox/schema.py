"""The tables, in SQL that SQLite and PostgreSQL both understand.

Amounts are units of 1e-12 coin, times are milliseconds of market time. A running order's row in
`orders_running` is the claim on its server: whoever inserts first has it, the second gets an error.
"""

from __future__ import annotations

__all__ = ["FIRST_ACCOUNT", "FIRST_ORDER", "MARKETPLACE", "SCHEMA"]

#: The marketplace's own account: where fees go.
MARKETPLACE = 0
#: Accounts made here start above the numbers that owners have in captured bodies.
FIRST_ACCOUNT = 1_000_001
FIRST_ORDER = 500_001

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS accounts (
        id BIGINT PRIMARY KEY,
        api_key TEXT NOT NULL UNIQUE,
        label TEXT NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS wallets (
        account BIGINT NOT NULL,
        coin TEXT NOT NULL,
        amount BIGINT NOT NULL,
        PRIMARY KEY (account, coin)
    )""",
    # `taken`: rented by somebody outside this marketplace (a captured body says so).
    """CREATE TABLE IF NOT EXISTS servers (
        id BIGINT PRIMARY KEY,
        position BIGINT NOT NULL,
        owner BIGINT NOT NULL,
        online INTEGER NOT NULL,
        taken INTEGER NOT NULL,
        record TEXT NOT NULL
    )""",
    # `running` and `ended_ms` are two things: an outbid spot order neither runs nor has ended.
    """CREATE TABLE IF NOT EXISTS orders (
        id BIGINT PRIMARY KEY,
        account BIGINT NOT NULL,
        server BIGINT NOT NULL,
        host BIGINT NOT NULL,
        type TEXT NOT NULL,
        coin TEXT NOT NULL,
        price BIGINT NOT NULL,
        fee_ppm BIGINT NOT NULL,
        creation_fee BIGINT NOT NULL,
        ask TEXT NOT NULL,
        created_ms BIGINT NOT NULL,
        visible_ms BIGINT NOT NULL,
        connected_ms BIGINT NOT NULL,
        booted_ms BIGINT NOT NULL,
        start_ms BIGINT NOT NULL,
        last_ms BIGINT NOT NULL,
        due_ms BIGINT NOT NULL,
        ticks BIGINT NOT NULL,
        spend BIGINT NOT NULL,
        fee BIGINT NOT NULL,
        running INTEGER NOT NULL,
        ended_ms BIGINT,
        reason TEXT,
        trouble TEXT,
        connection TEXT
    )""",
    """CREATE UNIQUE INDEX IF NOT EXISTS orders_running ON orders (server) WHERE running = 1""",
    """CREATE INDEX IF NOT EXISTS orders_account ON orders (account, ended_ms)""",
    """CREATE INDEX IF NOT EXISTS orders_due ON orders (due_ms) WHERE running = 1""",
)
