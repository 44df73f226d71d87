"""The state files of an earlier clore are taken over once, completely, with a message."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import programs
import pytest

from clore_ai._state.bids import Bids
from clore_ai._state.hosts import Block, HostRecord, Hosts
from clore_ai._state.ledger import Ledger
from clore_ai._state.pace import Gaps, Pace
from clore_ai._state.sqlite.schema import LEDGER_STEPS, STEPS
from clore_ai._state.store import FILE, Store
from clore_ai.exceptions import ConfigError
from clore_ai.jobs.store import Jobs
from clore_ai.models.records import Budget

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_700_000_000.0
PLACE = "0123456789abcdef"
_HOSTS = """
    CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
    CREATE TABLE seen (
        place TEXT NOT NULL, server_id INTEGER NOT NULL, owner INTEGER, at REAL NOT NULL,
        good INTEGER NOT NULL, reason TEXT, boot_s REAL, mbit_s REAL, disk_mb_s REAL);
    CREATE INDEX seen_of ON seen (place, at);
    CREATE TABLE blocked (
        place TEXT NOT NULL, kind TEXT NOT NULL, id INTEGER NOT NULL, at REAL NOT NULL, note TEXT,
        PRIMARY KEY (place, kind, id))
"""
JOB = {
    "id": 3, "name": "3-00000000", "account": "me", "order_id": 5, "command": ["x"], "folder": "/f",
    "work": "w", "begun_at": NOW,
}  # fmt: skip


def earlier(home: Path, hosts_version: int = 2) -> None:
    """All files of a clore from before the single store."""
    machine = Store().machine
    for name in (".", "shared", "jobs", "jobs/3"):
        (home / name).mkdir(mode=0o700, exist_ok=True)
    with closing(sqlite3.connect(home / "ledger.sqlite")) as db:
        db.executescript(";".join(STEPS[:LEDGER_STEPS]))
        db.execute(f"PRAGMA user_version = {LEDGER_STEPS}")
        db.execute(
            "INSERT INTO intents (account, server_id, type, currency, image, state, opened_at, "
            "posted_at, known_ids, order_id, started_at, untold) "
            "VALUES ('me', 7, 'spot', 'bitcoin', 'i', 'created', 1, 1, '[]', 5, 1000, 1)"
        )
        db.execute("INSERT INTO budgets VALUES ('me', 'USD', 'day', 5.0)")
        db.commit()
    with closing(sqlite3.connect(home / "hosts.sqlite")) as db:
        db.executescript(_HOSTS)
        row: tuple[object, ...] = (PLACE, 7, 8, NOW, 0, "no SSH", None, None, None)
        if hosts_version > 1:
            db.execute("ALTER TABLE seen ADD COLUMN lost INTEGER NOT NULL DEFAULT 0")
            row = (*row, 0)
        db.execute(f"PRAGMA user_version = {hosts_version}")
        db.execute(f"INSERT INTO seen VALUES ({', '.join('?' * len(row))})", row)
        db.execute("INSERT INTO blocked VALUES (?, 'server', 9, ?, 'rude')", (PLACE, NOW))
        db.commit()
    shared: dict[str, Any] = {
        "bids": {"5": [2.0, 1.0], "6": [1.0, -float("inf")]},
        "pilots": {"5": {"bid": 2.0, "ct": 1}},
        "pace": {"waiting": [], "round": 1, "number": 1, "due": 99.5, "sent": 100.0,
                 "created": 99.0, "not_before": -float("inf")},
    }  # fmt: skip
    for what, value in shared.items():
        (home / "shared" / f"{what}-{PLACE}-{machine}.json").write_text(json.dumps(value))
    (home / "jobs" / "3" / "job.json").write_text(json.dumps(JOB))


def check(home: Path) -> None:
    """Check that the store holds all records as they were."""
    store = Store(home)
    ledger = Ledger(store, "me")
    (intent,) = ledger.unacknowledged()
    assert (intent.order_id, intent.server_id, intent.started_at) == (5, 7, 1000)
    assert ledger.budgets() == [Budget("USD", "day", 5.0)]
    hosts = Hosts(store, PLACE)
    assert hosts.sights() == [HostRecord(7, 8, NOW, good=False, reason="no SSH")]
    assert hosts.blocks() == [Block("server", 9, NOW, "rude")]
    bids = Bids(store, PLACE)
    assert bids.wait_s(5, 1.0, 101.0) == 500.0
    assert bids.wait_s(6, 0.5, 101.0) == 0.0
    assert bids.pilot(5) == {"bid": 2.0, "ct": 1}
    (job,) = Jobs(store, "me").all()
    assert (job.id, job.command, job.begun_at) == (3, ["x"], NOW)
    pace = Pace(store, PLACE)
    assert pace.look(Gaps(1, 5), lambda: 100.5, is_create_order=True) == pytest.approx(3.9)


@pytest.mark.parametrize("hosts_version", [1, 2])
def test_all_records_are_taken_over_with_one_message(tmp_path: Path, hosts_version: int) -> None:
    """The earlier files are moved away, so that an earlier clore does not go on with them."""
    earlier(tmp_path, hosts_version)
    before = (tmp_path / "ledger.sqlite").read_bytes()
    assert Store(tmp_path).begun()
    said: list[str] = []
    for _ in range(2):
        Store(tmp_path, said.append).run(lambda _: None)
    (sentence,) = said
    assert str(tmp_path / "earlier") in sentence
    check(tmp_path)
    kept = tmp_path / "earlier"
    assert (kept / "ledger.sqlite").read_bytes() == before
    assert {each.name.partition("-")[0] for each in kept.iterdir()} == {
        "ledger.sqlite", "hosts.sqlite", "bids", "pilots", "pace", "3",
    }  # fmt: skip
    assert kept.stat().st_mode & 0o777 == 0o700
    assert not (tmp_path / "ledger.sqlite").exists()
    assert list((tmp_path / "shared").iterdir()) == []
    assert list((tmp_path / "jobs" / "3").iterdir()) == []


def _dies_after(home: Path, left: int) -> int:
    """Take over in a child that dies after so many lines of our code; the lines that were left."""
    child = os.fork()
    if child == 0:

        def count(frame: Any, event: str, _arg: object) -> Any:
            nonlocal left
            if "_state" not in frame.f_code.co_filename:
                return None
            left -= event == "line"
            if left <= 0:
                os._exit(0)
            return count

        sys.settrace(count)
        Store(home).run(lambda _: None)
        sys.settrace(None)
        (home / "left").write_text(str(left))
        os._exit(0)
    os.waitpid(child, 0)
    return int((home / "left").read_text()) if (home / "left").exists() else 0


@pytest.mark.skipif(sys.platform == "win32", reason="os.fork")
def test_killed_at_any_point_nothing_is_lost(tmp_path: Path) -> None:
    """The next process finds either all earlier files or all new records."""
    earlier(tmp_path)
    lines = 10_000 - _dies_after(tmp_path, 10_000)
    for number in range(1, lines, lines // 12):
        home = tmp_path / str(number)
        home.mkdir()
        earlier(home)
        _dies_after(home, number)
        check(home)
        assert (home / "earlier" / "ledger.sqlite").exists()
        assert list(home.glob("*.new*")) == []


def test_concurrent_processes_take_over_once(tmp_path: Path) -> None:
    """Exactly one of them prints the message."""
    earlier(tmp_path)
    code = (
        "import sys; from pathlib import Path; from clore_ai._state.store import Store\n"
        "Store(Path(sys.argv[1]), print).run(lambda _: None)"
    )
    running = [programs.start(code, tmp_path) for _ in range(4)]
    said = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0] * 4
    assert sum("were moved into state.sqlite" in each for each in said) == 1
    check(tmp_path)


@pytest.mark.parametrize("how", ["noise", "empty", "a row", "a table"])
def test_a_damaged_earlier_ledger_rents_nothing(tmp_path: Path, how: str) -> None:
    """It is kept aside as always, and the rest is taken over."""
    earlier(tmp_path)
    path = tmp_path / "ledger.sqlite"
    if how in ("noise", "empty"):
        path.write_bytes(b"no database" * 100 * (how == "noise"))
    else:
        with closing(sqlite3.connect(path)) as db:
            db.execute(
                "UPDATE intents SET known_ids = '['" if how == "a row" else "DROP TABLE budgets"
            )
            db.commit()
    store = Store(tmp_path)

    def rents() -> None:
        Ledger(store, "me").intents()
        store.check_loss()

    with pytest.raises(ConfigError, match=r"damaged.* kept as .*damaged-1\.sqlite"):
        rents()
    if how != "a row":  # found later, with the rest
        assert Hosts(store, PLACE).blocks()
        assert Ledger(store, "me").damaged() == str(tmp_path / "ledger.damaged-1.sqlite")


def test_other_damaged_files_count_as_missing(tmp_path: Path) -> None:
    """A damaged job is reported, since its machine may run."""
    earlier(tmp_path)
    for path in (tmp_path / "shared").iterdir():
        path.write_bytes(b"\xff[")
    (tmp_path / "hosts.sqlite").write_bytes(b"\0" * 5000)
    (tmp_path / "jobs" / "3" / "job.json").write_text("{")
    store = Store(tmp_path)
    assert Ledger(store, "me").budgets()
    assert Bids(store, PLACE).pilot(5) == {}
    assert Hosts(store, PLACE).blocks() == []
    assert "Job 3 can't be read" in Jobs(store, "me").damaged()[0]
    assert (tmp_path / FILE).exists()
