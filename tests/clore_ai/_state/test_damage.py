"""What is in the state folder is never trusted to be well-formed: any byte of it may be damaged."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Callable

import pytest

from clore_ai._api.steps import Instant
from clore_ai._state.bids import Bids
from clore_ai._state.hosts import FILE as HOSTS
from clore_ai._state.hosts import Block, Hosts
from clore_ai._state.kept import records
from clore_ai._state.ledger import FILE, Ledger
from clore_ai._state.market import MarketFile
from clore_ai.config import load
from clore_ai.exceptions import ConfigError
from clore_ai.jobs.store import Jobs
from clore_ai.models.records import Budget, Intent
from clore_ai.rate_limiter import RateLimiter

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

NOW = 1_700_000_000.0


def fill(home: Path) -> bytes:
    """A ledger with some of everything, closed; its bytes."""
    ledger = Ledger(home, "me")
    for number in range(4):
        wish = Intent(number + 1, "spot", "bitcoin", "cloreai/ubuntu", f"ref-{number}",
                      "a training", opened_at=NOW, posted_at=NOW, lease_s=3600.0,
                      known_ids=frozenset({number}))  # fmt: skip
        ledger.open(wish)
        if number:
            ledger.claim(wish, 100 + number, {"started_at": NOW, "ends_at": NOW + 3600})
    ledger.set_budget(Budget("USD", "day", 5.0))
    ledger.note_wallets({"bitcoin": 1.0}, NOW)
    ledger.close()
    return (home / FILE).read_bytes()


def use(ledger: Ledger) -> None:
    """Read and write all there is."""
    ledger.intents()
    for call in (ledger.running, ledger.unsettled, ledger.budgets, ledger.balances, ledger.claimed,
                 ledger.damaged):  # fmt: skip
        call()
    wish = Intent(9, "spot", "bitcoin", "i", "another", opened_at=NOW)
    ledger.open(wish)
    ledger.update(wish, state="refused")
    ledger.note_wallets({"bitcoin": 2.0}, NOW + 1)


def settles(home: Path) -> bool:
    """Whatever is damaged, a command or two later it works; was it begun anew?"""
    said = ""
    for _ in range(3):
        ledger = Ledger(home, "me")
        try:
            use(ledger)
            return ledger.damaged() is not None
        except ConfigError as exc:
            said = str(exc)
        finally:
            ledger.close()
        if "newer clore" in said:  # in its version number: that can't be told from a real one
            assert "move the file away" in said
            return False
        assert f"{home / FILE} was damaged" in said
        assert "it is kept as" in said
    raise AssertionError(f"it is damaged for good: {said}")


def test_a_flipped_bit_anywhere(tmp_path: Path) -> None:
    """In the header, in the text of the schema, in rows and indexes: a sentence, and then a way."""
    good = fill(tmp_path)
    dice = random.Random(7)
    schema = range(good.index(b"CREATE TABLE facts") - 900, 4096)
    flips = [(place, dice.randrange(8)) for place in (*range(16, 72), *dice.sample(schema, 40))]
    flips += [(place, 7) for place in dice.sample(schema, 40)]  # no text any more
    flips += [(dice.randrange(len(good)), dice.randrange(8)) for _ in range(60)]
    for place, bit in flips:
        content = bytearray(good)
        content[place] ^= 1 << bit
        for path in tmp_path.glob("ledger*"):
            path.unlink()
        (tmp_path / FILE).write_bytes(content)
        settles(tmp_path)


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
def test_what_sqlite_can_read_and_we_never_wrote(tmp_path: Path, change: str) -> None:
    """A row or a table that is not as ours are is damage, too: kept aside, and begun anew."""
    fill(tmp_path)
    with sqlite3.connect(tmp_path / FILE, isolation_level=None) as db:
        db.execute(change)
    db.close()
    assert settles(tmp_path)


def zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    (path / "below").mkdir(parents=True)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def nuls(path: Path) -> None:
    path.write_bytes(bytes(100_000))


def huge(path: Path) -> None:
    """10 GB, of which the disk has nothing."""
    with path.open("wb") as file:
        file.truncate(10 << 30)


def nested(path: Path) -> None:
    path.write_text("[" * 200_000)


def odd(path: Path) -> None:
    path.write_text('{"waiting":[[1,2,3]],"round":1e400,"5":{"a":[]},"mono":"x","local":NaN}\n[')


ODD = [zero, pipe, folder, empty, nuls, huge, nested, odd]
Make = Callable[["Path"], None]


@pytest.mark.parametrize("make", ODD)
def test_a_ledger_that_is_no_database(tmp_path: Path, make: Make) -> None:
    """It is moved away as it is; an empty one, too: what it held is not silently forgotten."""
    make(tmp_path / FILE)
    assert settles(tmp_path)
    assert os.path.lexists(tmp_path / "ledger.damaged-1.sqlite")


def test_who_has_it_open_goes_on_with_the_new_one(tmp_path: Path) -> None:
    """Another process has begun it anew, or the user moved it away: no intent is lost with it."""
    fill(tmp_path)
    first = Ledger(tmp_path, "me")
    assert len(first.intents()) == 4
    (tmp_path / FILE).replace(tmp_path / "elsewhere")
    first.open(Intent(7, "spot", "bitcoin", "i"))
    assert [i.server_id for i in Ledger(tmp_path, "me").intents()] == [7]


def test_hosts_that_are_damaged(tmp_path: Path) -> None:
    """Whom the user blocked is not silently rented again: said once, then it works."""
    hosts = Hosts(tmp_path, "here")
    hosts.block([Block("server", 5, NOW)])
    hosts.close()
    content = bytearray((tmp_path / HOSTS).read_bytes())
    content[content.index(b"CREATE TABLE seen") + 13] ^= 1
    (tmp_path / HOSTS).write_bytes(content)
    with pytest.raises(ConfigError, match=r"hosts\.damaged-1\.sqlite.*block them anew"):
        Hosts(tmp_path, "here").opinion(NOW)
    assert Hosts(tmp_path, "here").opinion(NOW).bars(5, None) is None


@pytest.mark.parametrize("make", ODD)
def test_what_processes_share_may_be_anything(tmp_path: Path, make: Make) -> None:
    """Pace, bids, spot orders: as if nothing were known, or one sentence; never a wait for it."""
    start = time.monotonic()
    home = tmp_path / "home"
    (home / "shared").mkdir(parents=True)
    paths = {name: home / "shared" / name for name in ("pace", "bids", "pilots", "market")}
    for path in paths.values():
        make(path)
    none = make in (zero, pipe, folder)

    def one(name: str) -> AbstractContextManager[object]:
        said = rf"{paths[name]}.*CLORE_HOME"
        return pytest.raises(ConfigError, match=said) if none else nullcontext()

    with one("pace"):
        RateLimiter(1000, shared=paths["pace"]).wait()
    with one("bids"):
        Bids(paths["bids"]).accepted(5, 1.0, 0.0)
    with one("pilots"), records(paths["pilots"]).open() as kept:
        assert kept == {}
    market = MarketFile(paths["market"])
    assert market.newest(Instant(NOW, 100.0), 60.0) is None
    make(paths["market"].with_suffix(".lock"))
    if not none:
        free = market.take(Instant(NOW, 100.0))
        assert free is not None
        free()
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("make", [make for make in ODD if make is not empty])
def test_a_config_file_that_is_none(home: Path, make: Make) -> None:
    """One sentence that names it."""
    home.mkdir()
    make(home / "config.json")
    if make is odd:
        (home / "config.json").write_text('"key"')
    with pytest.raises(ConfigError, match=r"config\.json (can't be read|is not valid|must hold)"):
        load()


def test_a_config_file_of_another_user(home: Path) -> None:
    """Who writes it could have the key sent elsewhere."""
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


def test_records_of_jobs_may_hold_anything(tmp_path: Path) -> None:
    """A job is read as we write it or not at all: what it says is run there, and written here."""
    jobs = Jobs(tmp_path, "me")
    wish: dict[str, object] = {
        "order_id": 5,
        "command": ["x"],
        "folder": "/f",
        "work": "w",
        "outputs": ["a/b"],
    }
    job, other = jobs.add(wish), jobs.add(wish)
    path = jobs.folder(job.id) / "job.json"
    good = json.loads(path.read_text())
    assert jobs.get(job.id) == job
    for change in FIELDS:
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(ConfigError, match=rf"{path} is damaged.*clore orders.*move .*/1 away"):
            jobs.get(job.id)
        assert jobs.all() == [other], change
        assert len(jobs.damaged()) == 1
    path.write_text(json.dumps({**good, "later": 1}))
    assert jobs.get(job.id) == job


@pytest.mark.parametrize("make", ODD)
def test_a_record_of_a_job_that_is_none(tmp_path: Path, make: Make) -> None:
    """Likewise; and the name of a folder need be no number."""
    jobs = Jobs(tmp_path, "me")
    place = jobs.folder(1)
    for name in ("1", "²", "-1", "01", "9" * 200, "x"):
        (place.parent / name).mkdir(parents=True)
    make(place / "job.json")
    with pytest.raises(ConfigError, match=r"job\.json is damaged"):
        jobs.get(1)
    assert jobs.all() == []
