"""The ledger on disk survives many processes, any crash, and a damaged or unusable file."""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
import threading
from pathlib import Path

import programs
import pytest

from clore_ai._state.ledger import Ledger, account_of
from clore_ai._state.store import FILE, Store
from clore_ai.exceptions import ConfigError
from clore_ai.models.records import Intent


def intent(server: int = 5, ref: str | None = None, **more: object) -> Intent:
    return Intent(server, "on-demand", "bitcoin", "i", ref, **more)  # type: ignore[arg-type]


@pytest.fixture(params=["memory", "file"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    """A ledger in memory or in a file: the rules are the same."""
    return Ledger(Store(tmp_path / "home" if request.param == "file" else None), "me")


def test_a_written_intent_reads_back_the_same(ledger: Ledger) -> None:
    """Every field is kept, a set of ids too; an update changes only the named fields."""
    wish = intent(ref="r", purpose="training", lease_s=60.0, known_ids=frozenset({3, 1}))
    assert ledger.open(wish) is None
    assert ledger.intents() == [wish]
    ledger.update(wish, posted_at=1.5, known_ids=frozenset({9}))
    assert ledger.unsettled() == [wish]
    assert wish.known_ids == frozenset({9})
    ledger.store.close()
    assert ledger.by_ref("r") == wish


def test_a_ref_is_given_out_once(ledger: Ledger) -> None:
    """Of forty threads with one ref, one may rent; a refused order frees the ref."""
    taken: list[Intent | None] = []
    ready = threading.Barrier(40)

    def take() -> None:
        ready.wait()
        taken.append(ledger.open(intent(ref="r")))

    threads = [threading.Thread(target=take) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (mine,) = ledger.intents()
    assert sorted(taken, key=lambda t: t is not None) == [None] + [mine] * 39
    ledger.update(mine, state="refused")
    assert ledger.open(intent(ref="r")) is None


def test_an_order_is_claimed_once(ledger: Ledger) -> None:
    """A second claim fails, except for an id that a reset marketplace gives out again."""
    one, two, three = intent(), intent(), intent()
    for wish in (one, two, three):
        ledger.open(wish)
    assert ledger.claim(one, 9, {"started_at": 100.0})
    assert not ledger.claim(two, 9, {"started_at": 100.0})
    assert not ledger.claim(two, 9, {})
    assert ledger.by_order(9) == one
    assert ledger.claim(three, 9, {"started_at": 200.0})
    assert ledger.by_order(9) == three
    assert ledger.running() == [three]
    assert "reset" in (ledger.reread(one).reason or "")


def test_accounts_are_separate(tmp_path: Path) -> None:
    """All keys share a file; each sees its own records, and no key can be read from it."""
    mine = Ledger(Store(tmp_path), account_of("https://a/v1", "key-one"))
    other = Ledger(Store(tmp_path), account_of("https://a/v1", "key-two"))
    mine.open(intent(ref="r"))
    assert other.intents() == []
    assert other.open(intent(ref="r")) is None
    assert b"key-one" not in (tmp_path / FILE).read_bytes()


def test_only_the_user_can_read_the_ledger(tmp_path: Path) -> None:
    """It is 0600 in a 0700 folder, whatever the umask and the folder were before."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o755)
    previous = os.umask(0)
    try:
        ledger = Ledger(Store(folder))
        ledger.open(intent())
        lock = ledger.lock("server 5")
        assert lock.try_acquire()
        lock.release()
    finally:
        os.umask(previous)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in folder.rglob("*")}
    assert modes.pop("locks") == 0o700
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


WRITE = """
import sys, os
from pathlib import Path
from clore_ai._state.ledger import Intent, Ledger
from clore_ai._state.store import Store
ledger = Ledger(Store(Path(sys.argv[1])), "me")
for number in range(int(sys.argv[2])):
    wish = Intent(number, "spot", "bitcoin", "i", client_ref=f"ref {number}")
    if ledger.open(wish) is None:
        ledger.update(wish, posted_at=1.0)
        print(number, flush=True)
"""


def test_many_processes_write_at_once(tmp_path: Path) -> None:
    """Four processes race for the same refs, and each ref goes to one of them."""
    running = [programs.start(WRITE, tmp_path / "home", 15) for _ in range(4)]
    won = [int(n) for process in running for n in process.communicate(timeout=60)[0].split()]
    assert [process.returncode for process in running] == [0] * 4
    assert sorted(won) == list(range(15))
    assert len(Ledger(Store(tmp_path / "home"), "me").unsettled()) == 15


def test_a_killed_writer_leaves_whole_intents(tmp_path: Path) -> None:
    """After a kill -9 in mid-write the file is sound and holds every intent that was printed."""
    with programs.start(WRITE, tmp_path / "home", 100_000) as writer:
        assert writer.stdout is not None
        for _ in range(20):
            last = int(writer.stdout.readline())
        writer.kill()
    known = {i.client_ref: i for i in Ledger(Store(tmp_path / "home"), "me").intents()}
    assert all(known[f"ref {number}"].posted_at == 1.0 for number in range(last + 1))
    assert Ledger(Store(tmp_path / "home"), "me").damaged() is None


@pytest.mark.parametrize("how", ["not a database", "torn", "a page of it"])
def test_a_damaged_file_is_kept_aside(how: str, tmp_path: Path) -> None:
    """A new one is begun, and says where the old one is until the user has repaired it."""
    first = Ledger(Store(tmp_path))
    for number in range(50):
        first.open(intent(number, purpose="x" * 200))
    first.store.close()
    path = tmp_path / FILE
    content = path.read_bytes()
    path.write_bytes(
        {
            "not a database": b"hello" * 1000,
            "torn": content[: len(content) // 2 + 7],
            "a page of it": content[:8192] + b"\xff" * 4096 + content[12288:],
        }[how]
    )
    damaged = path.read_bytes()
    ledger = Ledger(Store(tmp_path))
    assert ledger.intents() == []
    aside = ledger.damaged()
    assert aside is not None
    assert Path(aside).read_bytes() == damaged
    assert Ledger(Store(tmp_path)).damaged() == aside
    ledger.mended()
    assert Ledger(Store(tmp_path)).damaged() is None


def test_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    """The error is one sentence; the file does not change."""
    Ledger(Store(tmp_path)).open(intent())
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("PRAGMA user_version = 99")
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(ConfigError, match="written by a newer clore; upgrade"):
        Ledger(Store(tmp_path)).open(intent())
    assert (tmp_path / FILE).read_bytes() == before


def test_an_unusable_folder(tmp_path: Path) -> None:
    """It is a file or cannot be created: one sentence names CLORE_HOME."""
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match=r"can't be used .*CLORE_HOME"):
            Ledger(Store(folder)).open(intent())


def test_a_ledger_that_stays_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the wait the error says that another process is in the middle of a transaction."""
    monkeypatch.setattr("clore_ai._state.sqlite.sqlite_file.BUSY_S", 0.1)
    ledger = Ledger(Store(tmp_path))
    ledger.open(intent())
    ledger.store.close()
    with sqlite3.connect(tmp_path / FILE, isolation_level=None) as db:
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConfigError, match="has been locked"):
            ledger.open(intent())
        db.execute("ROLLBACK")
    ledger.open(intent())
    assert len(ledger.intents()) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="os.fork")
def test_a_forked_child_opens_its_own_connection(tmp_path: Path) -> None:
    """Neither process loses what the other wrote."""
    ledger = Ledger(Store(tmp_path))
    ledger.open(intent(1))
    child = os.fork()
    if child == 0:
        ledger.open(intent(2))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    ledger.open(intent(3))
    assert [i.server_id for i in ledger.intents()] == [1, 2, 3]


def test_locks_by_name(ledger: Ledger) -> None:
    """A name has one holder; another name is free."""
    one, same, other = ledger.lock("a"), ledger.lock("a"), ledger.lock("b")
    assert one.try_acquire()
    assert not same.try_acquire()
    assert other.try_acquire()
    same.release()  # the lock is not held: nothing happens
    assert not ledger.lock("a").try_acquire()
    one.release()
    assert same.try_acquire()
    same.release()
    other.release()


def test_a_ref_may_hold_any_bytes(ledger: Ledger) -> None:
    """A command line may hold bytes that are not text: two such refs differ, without an error."""
    wishes = [intent(ref="\udcff"), intent(ref="\udcfe", purpose="\ud800")]
    for wish in wishes:
        assert ledger.open(wish) is None
        lock = ledger.lock(f"ref {wish.client_ref}")
        assert lock.try_acquire()
        lock.release()
    found = [ledger.by_ref(wish.client_ref or "") for wish in wishes]
    assert [each and each.id for each in found] == [wish.id for wish in wishes]


def test_intents_since_a_number(ledger: Ledger) -> None:
    """Those above a number noted before; a refused intent leaves nothing behind."""
    ledger.open(intent(1))
    newest = ledger.newest()
    assert ledger.after(newest) == []
    kept, refused = intent(2), intent(3)
    ledger.open(kept)
    ledger.open(refused)
    ledger.update(refused, state="refused")
    assert ledger.after(newest) == [kept]
