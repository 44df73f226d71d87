"""Hosts' servers in the store: add, connect, list, configure, take on- and offline.

Every function works within the transaction it is given.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

from clore_sandbox import books
from clore_sandbox.books import lifecycle
from clore_sandbox.rules import Refusal, hosting, reputation
from clore_sandbox.rules.hosting import Hosted
from clore_sandbox.values.json_types import JsonObject, as_number, as_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from clore_sandbox.books.lifecycle import Effects, Terms
    from clore_sandbox.rules.hosting import Settings
    from clore_sandbox.store import Row, Tx

__all__ = [
    "add",
    "connect",
    "fill",
    "find",
    "jobs",
    "of_account",
    "put",
    "set_job",
    "set_online",
    "set_settings",
]

_JOB = "background_job"


def add(
    tx: Tx,
    account: int,
    name: str,
    record: JsonObject,
    *,
    connected: bool = True,
    effects: Effects,
) -> int | None:
    """Give an account a server, and return its number; None until it connects."""
    if tx.one("SELECT name FROM hosted WHERE account = ? AND name = ?", account, name) is not None:
        raise ValueError(f"this account already has a server {name!r}")
    tx.do(
        "INSERT INTO hosted (account, name, position, server, init_token, settings, record)"
        " VALUES (?, ?, ?, NULL, ?, ?, ?)",
        account,
        name,
        tx.number("SELECT COUNT(*) FROM hosted"),
        secrets.token_hex(24),
        hosting.UNCONNECTED.to_json(),
        json.dumps(record),
    )
    return connect(tx, account, name, effects) if connected else None


def connect(tx: Tx, account: int, name: str, effects: Effects) -> int:
    """Connect a server's machine for the first time, and return its number."""
    row = _row(tx, account, name)
    if row is None:
        raise KeyError(f"this account has no server {name!r}")
    if row["server"] is not None:
        return int(row["server"])
    record: JsonObject = json.loads(row["record"])
    settings = hosting.Settings.from_json(row["settings"])
    number = books.next_number(tx, "server")
    record |= {"id": number, "owner": account, "rented": False}
    # Settings made before it connected count; without any, a record with prices is on offer.
    hidden = settings != hosting.UNCONNECTED and not settings.available
    tx.do(
        "INSERT INTO servers (id, position, owner, online, taken, record, hidden)"
        " VALUES (?, ?, ?, 1, 0, ?, ?)",
        number,
        tx.number("SELECT MAX(position) FROM servers") + 1,
        account,
        json.dumps(record),
        int(hidden),
    )
    tx.do("UPDATE hosted SET server = ? WHERE account = ? AND name = ?", number, account, name)
    effects.records.add(number)
    effects.hosts = True
    return number


def _row(tx: Tx, account: int, name: str) -> Row | None:
    return tx.one("SELECT * FROM hosted WHERE account = ? AND name = ?", account, name)


def find(tx: Tx, account: int, name: str) -> Hosted | None:
    """The account's server of this name."""
    row = _row(tx, account, name)
    return None if row is None else _hosted(tx, row)


def of_account(tx: Tx, account: int) -> list[Hosted]:
    """The account's servers in the order in which they were added."""
    rows = tx.all("SELECT * FROM hosted WHERE account = ? ORDER BY position", account)
    return [_hosted(tx, row) for row in rows]


def _hosted(tx: Tx, row: Row) -> Hosted:
    record: JsonObject = json.loads(row["record"])
    job = as_object(record.get(_JOB))
    if row["server"] is None:
        settings = hosting.Settings.from_json(row["settings"])
        return Hosted(
            row["name"],
            None,
            row["init_token"],
            settings,
            record,
            online=False,
            rental=0,
            until_ms=None,
            job=job,
        )
    there = tx.one("SELECT online, hidden, taken, record FROM servers WHERE id = ?", row["server"])
    if there is None:
        raise LookupError(f"no server {row['server']}")
    shown: JsonObject = json.loads(there["record"])
    running = tx.one(
        "SELECT type, last_ms FROM orders WHERE server = ? AND running = 1", row["server"]
    )
    on_demand = there["taken"] or (running is not None and running["type"] == "on-demand")
    return Hosted(
        row["name"],
        row["server"],
        row["init_token"],
        hosting.settings_of(shown, available=not there["hidden"]),
        shown,
        online=bool(there["online"]),
        rental=2 if on_demand else 1 if running is not None else 0,
        until_ms=None if running is None else running["last_ms"],
        job=job,
    )


def set_settings(
    tx: Tx,
    account: int,
    name: str,
    body: JsonObject,
    *,
    partial: bool = False,
    rates: Mapping[str, float],
    now_ms: int,
    terms: Terms,
    effects: Effects,
) -> Refusal | None:
    """Change a server's settings, or refuse; bids below a new minimum wait."""
    hosted = find(tx, account, name)
    if hosted is None:
        return Refusal("server_dont_exist")
    settings = hosting.read_settings(body, hosted.settings, rates, partial=partial)
    if isinstance(settings, Refusal):
        return settings
    if hosted.server is None:
        tx.do(
            "UPDATE hosted SET settings = ?, record = ? WHERE account = ? AND name = ?",
            settings.to_json(),
            json.dumps(hosting.applied(settings, hosted.record, rates)),
            account,
            name,
        )
        return None
    put(
        tx, hosted.server, hosted.record, settings,
        rates=rates, now_ms=now_ms, terms=terms, effects=effects,
    )  # fmt: skip
    return None


def put(
    tx: Tx,
    server: int,
    record: JsonObject,
    settings: Settings,
    *,
    rates: Mapping[str, float],
    now_ms: int,
    terms: Terms,
    effects: Effects,
) -> None:
    """Apply settings; on-demand orders keep their price."""
    lifecycle.settle(tx, now_ms, terms, effects, server=server)
    lifecycle.write_record(tx, server, hosting.applied(settings, record, rates), effects)
    tx.do("UPDATE servers SET hidden = ? WHERE id = ?", int(not settings.available), server)
    lifecycle.reassign(tx, server, now_ms, terms, effects)


def set_job(tx: Tx, account: int, name: str, job: JsonObject | None) -> None:
    """Set what a server runs for its host while nobody rents it; None: nothing."""
    row = _row(tx, account, name)
    if row is None:
        raise KeyError(f"this account has no server {name!r}")
    record: JsonObject = json.loads(row["record"])
    before = as_object(record.get(_JOB)) or {}
    times = int(as_number(before.get("times_updated")) or 0)
    record[_JOB] = None if job is None else {"times_updated": times + 1, **job}
    tx.do(
        "UPDATE hosted SET record = ? WHERE account = ? AND name = ?",
        json.dumps(record),
        account,
        name,
    )


def jobs(tx: Tx) -> list[tuple[int, JsonObject, bool]]:
    """Every connected server with a background job, the job, and whether it should run now."""
    rows = tx.all("SELECT * FROM hosted WHERE server IS NOT NULL ORDER BY position")
    found: list[tuple[int, JsonObject, bool]] = []
    for row in rows:
        if as_object(json.loads(row["record"]).get(_JOB)) is not None:
            hosted = _hosted(tx, row)
            if hosted.server is not None and hosted.job is not None:
                found.append((hosted.server, hosted.job, hosted.job_runs))
    return found


def set_online(
    tx: Tx, server: int, *, online: bool, now_ms: int, terms: Terms, effects: Effects
) -> None:
    """Take a host offline, or bring it back; its orders are billed only while it is online."""
    lifecycle.settle(tx, now_ms, terms, effects, server=server)
    row = tx.one("SELECT online, since_ms, record FROM servers WHERE id = ?", server)
    if row is None or bool(row["online"]) == online:
        return
    record: JsonObject = json.loads(row["record"])
    if row["since_ms"] is not None:
        record["reliability"] = reputation.reliability(
            float(as_number(record.get("reliability")) or 0),
            online=not online,
            lasted_ms=now_ms - row["since_ms"],
        )
    lifecycle.write_record(tx, server, record, effects)
    tx.do("UPDATE servers SET online = ?, since_ms = ? WHERE id = ?", int(online), now_ms, server)
    for order in lifecycle.pause(tx, server, online=online, now_ms=now_ms):
        effects.boots[order] = online
    effects.servers.add(server)
    if online:
        lifecycle.settle(tx, now_ms, terms, effects, server=server)


def fill(tx: Tx, records: Iterable[Mapping[str, object]]) -> None:
    """Put the inventory's servers into an empty store."""
    if tx.number("SELECT COUNT(*) FROM servers"):
        return
    for position, record in enumerate(records):
        server, owner = record["id"], record.get("owner")
        assert isinstance(server, int)  # noqa: S101 - inventory.py has checked it
        tx.do(
            "INSERT INTO servers (id, position, owner, online, taken, record)"
            " VALUES (?, ?, ?, 1, ?, ?)",
            server,
            position,
            owner if isinstance(owner, int) and abs(owner) < 2**63 else 0,
            int(bool(record.get("rented"))),
            json.dumps(record),
        )
