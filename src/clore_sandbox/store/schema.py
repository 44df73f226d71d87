"""The tables, in SQL for both SQLite and PostgreSQL, created by named migration steps.

Amounts are units of 1e-12 coin, times are milliseconds of market time. The unique index
`orders_running` makes a running order the claim on its server: a second insert fails. Released
steps never change; later changes are new steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from clore_sandbox.store.base import Tx

__all__ = [
    "FIRST_ACCOUNT",
    "FIRST_ORDER",
    "FIRST_SERVER",
    "MARKETPLACE",
    "STEPS",
    "check",
    "migrate",
]

MARKETPLACE = 0
"""The marketplace's own account, which receives the fees."""
FIRST_ACCOUNT = 1_000_001
"""New accounts start above the owners' numbers in captured bodies."""
FIRST_ORDER = 500_001
FIRST_SERVER = 100_001
"""Servers that accounts add start at this number, or above the inventory's."""

_TRADE = (
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
    # `taken`: rented by a renter outside this marketplace (as in a captured body).
    """CREATE TABLE IF NOT EXISTS servers (
        id BIGINT PRIMARY KEY,
        position BIGINT NOT NULL,
        owner BIGINT NOT NULL,
        online INTEGER NOT NULL,
        taken INTEGER NOT NULL,
        record TEXT NOT NULL
    )""",
    # An outbid spot order is neither `running`, nor has it an `ended_ms`.
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

# An order's costs are counted from its last start or change of price; `base_spend` and `base_fee`
# are its earlier costs. `billed` is 0 while it is outbid or its host is offline; `due_ms` is then
# its latest end. `issue` is the renter's complaint.
_AUCTION = (
    "ALTER TABLE orders ADD COLUMN base_spend BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE orders ADD COLUMN base_fee BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE orders ADD COLUMN billed INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE orders ADD COLUMN lowered_ms BIGINT",
    "ALTER TABLE orders ADD COLUMN issue TEXT",
    """CREATE UNIQUE INDEX orders_one_offer ON orders (account, server)
        WHERE type = 'spot' AND ended_ms IS NULL""",
    "CREATE INDEX orders_open ON orders (server) WHERE ended_ms IS NULL",
    "DROP INDEX orders_due",
    "CREATE INDEX orders_open_due ON orders (due_ms) WHERE ended_ms IS NULL",
    "CREATE INDEX orders_open_account ON orders (account) WHERE ended_ms IS NULL",
    "CREATE INDEX orders_open_host ON orders (host) WHERE ended_ms IS NULL",
    # The last number of each kind, so that two processes never use the same one.
    "CREATE TABLE counters (name TEXT PRIMARY KEY, value BIGINT NOT NULL)",
)

# `hidden`: the host does not offer it. `since_ms`: when it last went offline or came back.
# A server that never connected has a name, a token and settings, and no number yet.
_HOSTING = (
    "ALTER TABLE servers ADD COLUMN hidden INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE servers ADD COLUMN since_ms BIGINT",
    """CREATE TABLE hosted (
        account BIGINT NOT NULL,
        name TEXT NOT NULL,
        position BIGINT NOT NULL,
        server BIGINT UNIQUE,
        init_token TEXT NOT NULL,
        settings TEXT NOT NULL,
        record TEXT NOT NULL,
        PRIMARY KEY (account, name)
    )""",
)

STEPS = (("trade", _TRADE), ("auction", _AUCTION), ("hosting", _HOSTING))
"""Name and statements of each step, in order."""


def check(tables: Collection[str], where: str) -> None:
    """Refuse another program's database, before it is changed.

    Raises:
        RuntimeError: It has tables, but not those of the first step.
    """
    if tables and not {"steps", "meta", "accounts"} <= set(tables):
        raise RuntimeError(
            f"{where} has tables of another program ({', '.join(sorted(tables)[:3])}); "
            "choose an empty one with --db"
        )


def migrate(tx: Tx) -> None:
    """Run the steps that are new to this database, in one transaction.

    Raises:
        RuntimeError: It has steps of a newer version.
    """
    tx.do("CREATE TABLE IF NOT EXISTS steps (name TEXT PRIMARY KEY)")
    taken = {row["name"] for row in tx.all("SELECT name FROM steps")}
    if not taken <= {name for name, _ in STEPS}:
        raise RuntimeError("it was created by a newer version")
    for name, statements in STEPS:
        if name not in taken:
            for statement in statements:
                tx.do(statement)
            tx.do("INSERT INTO steps VALUES (?)", name)
