"""Imports the files of an earlier clore once, and moves them out of the way.

They were ``ledger.sqlite``, ``hosts.sqlite``, ``shared/*.json`` (the pace, bids, spot orders) and
``jobs/*/job.json``. All records are copied into the new file before it is put in its place, so a
kill at any point leaves either only the earlier files or the complete new one. Then the earlier
files are moved to ``earlier/``, so that an earlier clore does not silently continue with them.
"""

from __future__ import annotations

import json
import math
import os
import re
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Callable

from clore_ai._state.folder import private_folder, read_private
from clore_ai._state.sqlite.schema import LEDGER_STEPS
from clore_ai._state.sqlite.sqlite_file import check, check_file, connect, free_name, patiently
from clore_ai._values.kinds import as_dict
from clore_ai.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEDGER, _HOSTS = "ledger.sqlite", "hosts.sqlite"
_SHARED = re.compile(r"(pace|bids|pilots)-([0-9a-f]{16})-(.+)\.json").fullmatch
_NUMBER = re.compile(r"[1-9][0-9]{0,8}").fullmatch
_PENDING, _MOVING = "taken over", "moving"
"""A fact of the new file until the import was reported, and its value until the files are moved."""
_MOST_BYTES = 8 << 20
_CREATE_S = 5.4
_UNUSABLE = (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError)
"""The errors that reading a damaged file raises; it is then treated as missing."""


def left(home: Path) -> bool:
    """Is there anything to import?"""
    return next(_files(home), None) is not None


def _files(home: Path) -> Iterator[Path]:
    for name in (LEDGER, _HOSTS):
        if os.path.lexists(home / name):
            yield home / name
    with suppress(OSError):
        yield from (each for each in (home / "shared").iterdir() if _SHARED(each.name))
    yield from (place / "job.json" for place in _jobs(home))


def _jobs(home: Path) -> Iterator[Path]:
    with suppress(OSError):
        for place in (home / "jobs").iterdir():
            if _NUMBER(place.name) and os.path.lexists(place / "job.json"):
                yield place


class Earlier:
    """The earlier files of a state folder; no earlier clore writes its ledger until `close`."""

    def __init__(self, home: Path) -> None:
        self._home, self._ledger = home, home / LEDGER
        self._locked: sqlite3.Connection | None = None

    def close(self) -> None:
        """Let go of the ledger."""
        if self._locked is not None:
            self._locked.close()

    def copy_ledger(self, new: sqlite3.Connection) -> None:
        """Copy the ledger, tables included.

        Raises:
            sqlite3.DatabaseError, UnicodeDecodeError: it is damaged.
        """
        if not os.path.lexists(self._ledger):
            return
        check_file(self._ledger)
        self._locked = connect(str(self._ledger))
        check(self._locked, self._ledger, LEDGER_STEPS)
        patiently(self._locked, "BEGIN IMMEDIATE")
        with closing(connect(str(self._ledger))) as source:
            source.backup(new)

    def copy_rest(self, new: sqlite3.Connection) -> None:
        """Copy hosts, bids, jobs and the pace, and the fact to report; `new` has all tables."""
        found = list(_files(self._home))
        if not found:
            return
        new.execute("BEGIN IMMEDIATE")
        if os.path.lexists(self._home / _HOSTS):
            with suppress(sqlite3.DatabaseError, UnicodeDecodeError, OSError):
                self._copy_hosts(new)
        for path in found:
            shared = _SHARED(path.name)
            if shared is not None:
                with suppress(*_UNUSABLE):
                    self._copy_shared(new, path, shared)
        for place in _jobs(self._home):
            try:
                record = read_private(place / "job.json", _MOST_BYTES).decode("utf-8", "replace")
            except OSError:
                record = ""  # damaged, which the record of this job reports
            new.execute("INSERT INTO jobs VALUES (?, ?)", (int(place.name), record))
        new.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (_PENDING, _MOVING))
        new.execute("COMMIT")

    def _copy_hosts(self, new: sqlite3.Connection) -> None:
        check_file(self._home / _HOSTS)
        with closing(connect(str(self._home / _HOSTS))) as hosts:
            seen = hosts.execute("SELECT * FROM seen").fetchall()
            blocked = hosts.execute("SELECT * FROM blocked").fetchall()
        for row in seen:  # the first version had no losses
            values = (*row, 0) if "lost" not in row.keys() else tuple(row)  # noqa: SIM118 - a Row
            new.execute(f"INSERT INTO seen VALUES ({', '.join('?' * 10)})", values)  # noqa: S608 - marks alone
        new.executemany("INSERT INTO blocked VALUES (?, ?, ?, ?, ?)", [tuple(r) for r in blocked])

    def _copy_shared(self, new: sqlite3.Connection, path: Path, parts: re.Match[str]) -> None:
        what, of, machine = parts.groups()
        kept = as_dict(json.loads(read_private(path, _MOST_BYTES))) or {}
        if what == "pace":
            sent, until = float(kept["sent"]), float(kept["not_before"])
            free = max(sent + 1, until, 0.0)
            create = max(float(kept["created"]) + _CREATE_S, 0.0)
            times = (max(sent, 0.0), free, free, create)
            new.execute("INSERT INTO pace VALUES (?, ?, ?, ?, ?, ?)", (of, machine, *times))
            return
        for number, value in kept.items():
            at = (of, machine, int(number))
            new.execute(
                "INSERT OR IGNORE INTO bids (place, machine, order_id) VALUES (?, ?, ?)", at
            )
            names = ("pilot",) if what == "pilots" else ("above", "lowered")
            values = (json.dumps(value),) if what == "pilots" else map(float, value)
            for name, each in zip(names, values):
                new.execute(
                    f"UPDATE bids SET {name} = ? WHERE (place, machine, order_id) = (?, ?, ?)",  # noqa: S608 - our own names
                    (None if each == -math.inf else each, *at),
                )


def put_away(home: Path) -> None:
    """Move the earlier files out of the way.

    Raises:
        ConfigError: they can't be moved.
    """
    found = list(_files(home))
    if not found:
        return
    try:
        aside = private_folder(home / "earlier")
        for path in found:
            name = f"{path.parent.name}-{path.name}" if path.name == "job.json" else path.name
            path.replace(free_name(aside / name))
            journal = path.with_name(f"{path.name}-journal")
            if journal.exists():
                journal.replace(aside / journal.name)
    except OSError as exc:
        raise ConfigError(
            f"{home} holds files of an earlier clore that can't be moved ({exc.strerror}); move "
            "them yourself, or set CLORE_HOME to another folder."
        ) from exc


def finish(
    connection: sqlite3.Connection, home: Path, on_message: Callable[[str], None] | None
) -> None:
    """Move the earlier files if that was interrupted, and report the import once."""
    row = connection.execute("SELECT value FROM facts WHERE name = ?", (_PENDING,)).fetchone()
    if row is None:
        return
    if row["value"] == _MOVING:
        put_away(home)
        connection.execute("UPDATE facts SET value = 'to report' WHERE name = ?", (_PENDING,))
    if on_message is not None:
        on_message(
            f"The records of an earlier clore in {home} were moved into state.sqlite; the old "
            f"files are kept in {home / 'earlier'}."
        )
        connection.execute("DELETE FROM facts WHERE name = ?", (_PENDING,))
