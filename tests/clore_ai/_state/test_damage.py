"""The state folder is never trusted to be well-formed: any byte of it may be damaged."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Callable

import pytest

from clore_ai._api.steps import Instant
from clore_ai._state import store as store_module
from clore_ai._state.bids import Bids
from clore_ai._state.hosts import Block, Hosts
from clore_ai._state.ledger import Ledger
from clore_ai._state.market import MarketFile
from clore_ai._state.pace import Pace
from clore_ai._state.store import FILE, Store
from clore_ai.config import load
from clore_ai.exceptions import ConfigError, NotFoundError
from clore_ai.jobs.store import Jobs
from clore_ai.models.records import Budget, Intent
from clore_ai.rate_limiter import RateLimiter

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_700_000_000.0


def fill(home: Path) -> bytes:
    """Write a ledger with a record of each kind, close it, and return its bytes."""
    ledger = Ledger(Store(home), "me")
    for number in range(4):
        wish = Intent(number + 1, "spot", "bitcoin", "cloreai/ubuntu", f"ref-{number}",
                      "a training", opened_at=NOW, posted_at=NOW, lease_s=3600.0,
                      known_ids=frozenset({number}))  # fmt: skip
        ledger.open(wish)
        if number:
            ledger.claim(wish, 100 + number, {"started_at": NOW, "ends_at": NOW + 3600})
    ledger.set_budget(Budget("USD", "day", 5.0))
    ledger.note_wallets({"bitcoin": 1.0}, NOW)
    ledger.store.close()
    return (home / FILE).read_bytes()


def use(ledger: Ledger) -> None:
    """Read and write every kind of record."""
    ledger.intents()
    for call in (ledger.running, ledger.unsettled, ledger.budgets, ledger.balances, ledger.claimed,
                 ledger.damaged):  # fmt: skip
        call()
    wish = Intent(9, "spot", "bitcoin", "i", "another", opened_at=NOW)
    ledger.open(wish)
    ledger.update(wish, state="refused")
    ledger.note_wallets({"bitcoin": 2.0}, NOW + 1)


def recovers(home: Path) -> bool:
    """Check that a command or two after the damage all works, and say if the store was renewed."""
    said = ""
    for _ in range(3):
        ledger = Ledger(Store(home), "me")
        try:
            use(ledger)
            return ledger.damaged() is not None
        except ConfigError as exc:
            said = str(exc)
        finally:
            ledger.store.close()
        if "newer clore" in said:  # in the version number: a damaged one looks like a real one
            assert "move the file away" in said
            return False
        assert f"{home / FILE} was damaged" in said
        assert "it is kept as" in said
    raise AssertionError(f"it is damaged for good: {said}")


def test_a_flipped_bit_anywhere_is_survived(tmp_path: Path) -> None:
    """Whether in the header, the schema, rows or indexes: one sentence, then the store works."""
    good = fill(tmp_path)
    dice = random.Random(7)
    schema = range(good.index(b"CREATE TABLE facts") - 900, 4096)
    flips = [(place, dice.randrange(8)) for place in (*range(16, 72), *dice.sample(schema, 20))]
    flips += [(place, 7) for place in dice.sample(schema, 20)]  # not text any more
    flips += [(dice.randrange(len(good)), dice.randrange(8)) for _ in range(30)]
    for place, bit in flips:
        content = bytearray(good)
        content[place] ^= 1 << bit
        for path in tmp_path.glob("state*"):
            path.unlink()
        (tmp_path / FILE).write_bytes(content)
        recovers(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE intents SET state = 'cbeated'",
        "UPDATE intents SET known_ids = '[1,'",
        "UPDATE intents SET known_ids = 7",
        "UPDATE intents SET posted_at = 'soon'",
        "UPDATE intents SET started_at = 1e300",
        "UPDATE intents SET lease_s = 9e999",
        "UPDATE intents SET order_id = x'00' WHERE id = 2",
        "UPDATE intents SET server_id = 'x'",
        "UPDATE intents SET image = CAST(x'ff' AS TEXT)",
        "UPDATE budgets SET amount = 'much'",
        "UPDATE balances SET at = -1",
        "ALTER TABLE intents RENAME COLUMN gpu TO gpv",
        "ALTER TABLE intents RENAME TO intentr",
        "DROP INDEX one_intent_an_order",
        "DROP TABLE facts",
    ],
)
def test_rows_and_tables_that_clore_never_wrote_are_damage(tmp_path: Path, change: str) -> None:
    """The store is kept aside and a new one begun, although SQLite can read the old one."""
    fill(tmp_path)
    with sqlite3.connect(tmp_path / FILE, isolation_level=None) as db:
        db.execute(change)
    db.close()
    assert recovers(tmp_path)


def zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    (path / "below").mkdir(parents=True)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def one_byte(path: Path) -> None:
    """SQLite takes the file for a new database."""
    path.write_bytes(b"x")


def nuls(path: Path) -> None:
    path.write_bytes(bytes(100_000))


def huge(path: Path) -> None:
    """Claim 10 GB, none of it on the disk."""
    with path.open("wb") as file:
        file.truncate(10 << 30)


def nested(path: Path) -> None:
    path.write_text("[" * 200_000)


def odd(path: Path) -> None:
    path.write_text('{"waiting":[[1,2,3]],"round":1e400,"5":{"a":[]},"mono":"x","local":NaN}\n[')


ODD = [zero, pipe, folder, empty, one_byte, nuls, huge, nested, odd]
Make = Callable[["Path"], None]


@pytest.mark.parametrize("make", ODD)
def test_a_store_that_is_no_database(tmp_path: Path, make: Make) -> None:
    """It is moved away as it is, even if empty: its records are not silently forgotten."""
    make(tmp_path / FILE)
    assert recovers(tmp_path)
    assert os.path.lexists(tmp_path / "state.damaged-1.sqlite")


@pytest.mark.skipif(sys.platform == "win32", reason="os.fork")
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_while_a_store_is_kept_aside(tmp_path: Path, when: str) -> None:
    """The next command finds the new store, which says where the damaged one is."""
    empty(tmp_path / FILE)
    child = os.fork()
    if child == 0:
        real = store_module.set_aside

        def killed(path: Path, aside: Path) -> None:
            if when == "after":
                real(path, aside)
            os._exit(9)

        store_module.set_aside = killed
        Ledger(Store(tmp_path), "me").intents()
    os.waitpid(child, 0)
    assert (tmp_path / FILE).exists() == (when == "before")
    aside = tmp_path / "state.damaged-1.sqlite"
    assert Ledger(Store(tmp_path), "me").damaged() == str(aside)
    assert aside.read_bytes() == b""


def test_a_process_with_a_replaced_store_uses_the_new_one(tmp_path: Path) -> None:
    """If another process or the user moves the store away, no intent is lost with it."""
    fill(tmp_path)
    first = Ledger(Store(tmp_path), "me")
    assert len(first.intents()) == 4
    (tmp_path / FILE).replace(tmp_path / "elsewhere")
    first.open(Intent(7, "spot", "bitcoin", "i"))
    assert [i.server_id for i in Ledger(Store(tmp_path), "me").intents()] == [7]


def test_damaged_host_records_are_reported(tmp_path: Path) -> None:
    """A blocked host is not silently rented again: the message appears once, then all works."""
    hosts = Hosts(Store(tmp_path), "here")
    hosts.block([Block("server", 5, NOW)])
    hosts.store.close()
    content = bytearray((tmp_path / FILE).read_bytes())
    content[content.index(b"CREATE TABLE seen") + 13] ^= 1
    (tmp_path / FILE).write_bytes(content)
    hosts = Hosts(Store(tmp_path), "here")
    with pytest.raises(ConfigError, match=r"state\.damaged-1\.sqlite.*blocked hosts"):
        hosts.opinion(NOW)
    assert hosts.opinion(NOW).bars(5, None) is None


@pytest.mark.parametrize("make", ODD)
def test_a_damaged_market_list_is_ignored(tmp_path: Path, make: Make) -> None:
    """It counts as missing, and nothing waits for it."""
    start = time.monotonic()
    path = tmp_path / "home" / "shared" / "market"
    path.parent.mkdir(parents=True)
    make(path)
    market = MarketFile(path)
    assert market.newest(Instant(NOW, 100.0), 60.0) is None
    make(path.with_suffix(".lock"))
    if make not in (zero, pipe, folder):
        free = market.take(Instant(NOW, 100.0))
        assert free is not None
        free()
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("change", "use_"),
    [
        ("UPDATE pace SET next = 'soon'", lambda s: RateLimiter(500, shared=Pace(s)).wait()),
        ("UPDATE pace SET floor = 9e999", lambda s: RateLimiter(500, shared=Pace(s)).wait()),
        ("UPDATE bids SET above = 'x'", lambda s: Bids(s).wait_s(5, 1.0, 0.0)),
        ("UPDATE bids SET lowered = 'x'", lambda s: Bids(s).accepted(5, 1.0, 0.0)),
        ("UPDATE blocked SET id = 'x'", lambda s: Hosts(s).blocks()),
    ],
)
def test_damaged_rows_of_other_tables(
    tmp_path: Path, change: str, use_: Callable[[Store], None]
) -> None:
    """The store is kept aside with a message; a damaged record of a spot order is ignored."""
    store = Store(tmp_path)
    RateLimiter(500, shared=Pace(store)).wait()
    Bids(store).accepted(5, 2.0, 1.0)
    Bids(store).keep_pilot(5, {"a": 1})
    assert Bids(store).pilot(5) == {"a": 1}
    Hosts(store).block([Block("server", 5, NOW)])
    store.run(lambda db: db.execute("UPDATE bids SET pilot = '['"))
    assert Bids(store).pilot(5) == {}
    store.run(lambda db: db.execute(change))
    with pytest.raises(ConfigError, match=r"state\.sqlite was damaged.*it is kept as"):
        use_(store)
    with suppress(ConfigError):  # hosts: the loss of blocks is reported before anything is rented
        use_(store)
    use_(store)


@pytest.mark.parametrize("make", [make for make in ODD if make is not empty])
def test_a_damaged_config_file(home: Path, make: Make) -> None:
    """One sentence names the file."""
    home.mkdir()
    make(home / "config.json")
    if make is odd:
        (home / "config.json").write_text('"key"')
    with pytest.raises(ConfigError, match=r"config\.json (can't be read|is not valid|must hold)"):
        load()


def test_a_config_file_of_another_user(home: Path) -> None:
    """Its owner could have the key sent to another address."""
    home.mkdir()
    (home / "config.json").write_text('{"base_url": "http://127.0.0.1:9/v1"}')
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(home / "config.json", 1234, 1234)
    with pytest.raises(ConfigError, match="belongs to another user"):
        load()


FIELDS: list[dict[str, Any]] = [
    {"order_id": "x"}, {"order_id": 10**30}, {"order_id": -1}, {"order_id": None},
    {"outputs": "../../.ssh"}, {"outputs": ["../../.ssh"]}, {"outputs": ["/etc"]},
    {"outputs": ["a/../../b"]}, {"outputs": [""]}, {"outputs": [7]}, {"folder": 7},
    {"folder": "a\0b"}, {"work": None}, {"command": "rm -rf"}, {"command": [["x"]]},
    {"name": "../../x"}, {"name": "1-00000000; id"}, {"id": 2}, {"id": "1"}, {"state": "odd"},
    {"begun_at": 1e300}, {"begun_at": "now"}, {"ended_at": -1}, {"cancels": "yes"}, {"code": 1.5},
    {"lost_after_s": "x"}, {"max_bid_usd": float("inf")}, {"max_bid_usd": -1}, {"account": None},
]  # fmt: skip


def test_a_job_is_read_as_it_was_written_or_not_at_all(tmp_path: Path) -> None:
    """Its values are run on the machine and written to files here."""
    jobs = Jobs(Store(tmp_path), "me")
    wish: dict[str, object] = {
        "order_id": 5,
        "command": ["x"],
        "folder": "/f",
        "work": "w",
        "outputs": ["a/b"],
    }
    job, other = jobs.add(wish), jobs.add(wish)

    def write(record: object) -> None:
        jobs.store.run(
            lambda db: db.execute("UPDATE jobs SET record = ? WHERE id = ?", (record, job.id))
        )

    good = asdict(job)
    assert jobs.get(job.id) == job
    odd = [json.dumps({**good, **change}) for change in FIELDS]
    for record in (*odd, "", "[" * 200_000, b"\xff", 7, "[1]"):
        write(record)
        with pytest.raises(ConfigError, match=r"state.sqlite is damaged.*clore orders.*/1 away"):
            jobs.get(job.id)
        assert jobs.all() == [other], record
        assert len(jobs.damaged()) == 1
    write(json.dumps({**good, "later": 1}))
    assert jobs.get(job.id) == job


def test_a_job_whose_folder_was_moved_away_is_forgotten(tmp_path: Path) -> None:
    """Its number is not given out again; the name of a folder need not be a number."""
    jobs = Jobs(Store(tmp_path), "me")
    assert jobs.all() == []
    job = jobs.add({"order_id": 5, "command": ["x"], "folder": "/f", "work": "w"})
    for name in ("²", "-1", "01", "9" * 200, "x"):
        (tmp_path / "jobs" / name).mkdir(parents=True)
    jobs.folder(job.id).rename(tmp_path / "elsewhere")
    assert jobs.all() == jobs.damaged() == []
    with pytest.raises(NotFoundError):
        jobs.get(job.id)
    assert jobs.add({"order_id": 5, "command": [], "folder": "/f", "work": "w"}).id == job.id + 1
