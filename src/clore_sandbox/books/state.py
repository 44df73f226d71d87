"""Snapshots: the whole state as one JSON object, written and restored within a transaction.

A snapshot holds accounts with their keys, wallets, servers, and orders with their passwords: it is
for tests, not for publication. The identity of the running marketplace (its host key, its mark on
processes) is not part of it. The first account keeps its key, so that clients can continue.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from clore_sandbox.books import orders
from clore_sandbox.store.schema import STEPS
from clore_sandbox.values.json_types import as_int, as_list, as_object, as_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clore_sandbox.store import Tx, Value
    from clore_sandbox.values.json_types import JsonObject

__all__ = ["Snapshot", "dump", "empty", "read", "restore"]

_FORMAT = "clore-sandbox-snapshot 1"
TABLES = tuple(
    name
    for _, statements in STEPS
    for statement in statements
    for name in re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", statement)
    if name != "meta"
)
"""Taken from the statements that create them, so that later tables are included."""
_STEPS = [name for name, _ in STEPS]
_COLUMN = re.compile(r"[a-z_]+")


@dataclass(frozen=True)
class Snapshot:
    """A checked snapshot. `first` is the key that its first account had."""

    now_ms: int
    first: str
    tables: Mapping[str, tuple[list[str], list[list[Value]]]]


def dump(tx: Tx, *, now_ms: int, first: str) -> JsonObject:
    """The current state."""
    tables: JsonObject = {}
    for table in TABLES:
        rows = tx.all(f"SELECT * FROM {table}")  # noqa: S608 - the names above
        columns = list(rows[0].keys()) if rows else []
        tables[table] = {
            "columns": columns,
            "rows": [[row[name] for name in columns] for row in rows],
        }
    return {
        "format": _FORMAT,
        "steps": list(_STEPS),
        "now_ms": now_ms,
        "first": first,
        "tables": tables,
    }


def read(value: object) -> Snapshot:
    """Check a JSON value; ValueError if it is not a snapshot, or of another version."""
    body = as_object(value) or {}
    now_ms, first = as_int(body.get("now_ms")), as_text(body.get("first"))
    tables = as_object(body.get("tables"))
    if body.get("format") != _FORMAT or now_ms is None or first is None or tables is None:
        raise ValueError("not a snapshot of a marketplace")
    if body.get("steps") != _STEPS or set(tables) != set(TABLES):
        raise ValueError("a snapshot of another version, with other tables")
    return Snapshot(now_ms, first, {name: _table(name, tables[name]) for name in TABLES})


def _table(name: str, value: object) -> tuple[list[str], list[list[Value]]]:
    fields = as_object(value) or {}
    columns, rows = as_list(fields.get("columns")), as_list(fields.get("rows"))
    if columns is None or rows is None:
        raise ValueError(f"the snapshot's {name} have no columns or rows")
    # Their names become part of a statement.
    if not all(isinstance(column, str) and _COLUMN.fullmatch(column) for column in columns):
        raise ValueError(f"the snapshot's {name} have an invalid column")
    return cast("list[str]", columns), [_row(name, row, len(columns)) for row in rows]


def _row(name: str, value: object, length: int) -> list[Value]:
    row = as_list(value)
    if row is None or len(row) != length or not all(_fits(cell) for cell in row):
        raise ValueError(f"the snapshot's {name} have an invalid row")
    return cast("list[int | float | str | None]", row)


def _fits(cell: object) -> bool:
    if isinstance(cell, int):
        return not isinstance(cell, bool) and abs(cell) < 2**63
    return cell is None or isinstance(cell, (str, float))


def empty(tx: Tx) -> list[int]:
    """Remove everything; returns the orders that existed."""
    gone = [row["id"] for row in tx.all("SELECT id FROM orders")]
    for table in TABLES:
        tx.do(f"DELETE FROM {table}")  # noqa: S608 - the names above
    return gone


def restore(tx: Tx, snapshot: Snapshot, *, first: str | None) -> None:
    """Fill the empty tables from a snapshot; its first account gets the key `first`."""
    for table, (columns, rows) in snapshot.tables.items():
        if not rows:
            continue
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        statement = f"INSERT INTO {table} ({names}) VALUES ({marks})"  # noqa: S608 - checked in `read`
        for row in rows:
            tx.do(statement, *row)
    tx.do("UPDATE accounts SET api_key = ? WHERE api_key = ?", first, snapshot.first)
    # An unreadable order must fail now, while the transaction can roll back.
    for written in tx.all("SELECT * FROM orders"):
        orders.Order.from_row(written)
