"""An `Intent` as a row of the store, and back. Pure."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any, cast, get_args

from clore_ai._state.sqlite.rows import DamagedError, read
from clore_ai.models.records import Enforced, Intent, State

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

_COLUMNS = [f.name for f in fields(Intent)]


def plain(value: object) -> object:
    """`value` as a column holds it; an undecodable byte of a command line is escaped."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return (
        json.dumps(sorted(cast("frozenset[int]", value))) if isinstance(value, frozenset) else value
    )


def insert(db: sqlite3.Connection, intent: Intent, account: str) -> None:
    """Insert an intent, which gives it its id."""
    row = {name: plain(getattr(intent, name)) for name in _COLUMNS if name != "id"}
    row["account"] = account
    done = db.execute(
        f"INSERT INTO intents ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",  # noqa: S608 - our own names
        list(row.values()),
    )
    intent.id = done.lastrowid


def write(db: sqlite3.Connection, intent: Intent, changes: dict[str, Any]) -> None:
    """Change an intent's row; `apply` changes the object once the row is on disk."""
    names = ", ".join(f"{name} = ?" for name in changes)
    db.execute(
        f"UPDATE intents SET {names} WHERE id = ?",  # noqa: S608 - our own names
        [*map(plain, changes.values()), intent.id],
    )


def apply(changed: Iterable[tuple[Intent, dict[str, Any]]]) -> None:
    """Apply the changes of the rows to the objects."""
    for intent, changes in changed:
        for name, value in changes.items():
            setattr(intent, name, value)


def intent_of(row: sqlite3.Row) -> Intent:
    """The intent of a row.

    Raises:
        DamagedError: the row can't have been written this way.
    """
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
