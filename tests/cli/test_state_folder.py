"""An unusable state folder: one sentence, exit 2, nothing rented; other commands still work."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable

import pytest
from forks import Forks, of_clore

from clore_ai._state.store import Store

from .conftest import environment
from .driver import DEPLOY, Clore, Renter, Result

if TYPE_CHECKING:
    from clore_sandbox import Sandbox

WORDS = (*DEPLOY, "USD-Blockchain", "--ssh-password", "Passw0rd")
_NO_LOCKS = """
import errno, fcntl
def flock(file, how):
    raise OSError(errno.ENOLCK, "No locks available")
fcntl.flock = flock
"""

Run = Callable[..., Result]
# Each entry breaks the state folder in one way, and gives a `clore` that runs with it.
Case = Callable[[Renter, Path], Run]


def _of(renter: Renter, home: Path, process: Forks | None) -> Run:
    user = renter.with_(CLORE_HOME=str(home))

    def run(*args: object, fails: int = 0) -> Result:
        return user(*args, fails=fails, process=process)

    return run


def _in(renter: Renter, home: Path) -> Run:
    """Runs `clore` with this state folder."""
    return _of(renter, home, None)


def _bwrap(*words: str) -> list[str]:
    program = shutil.which("bwrap")
    command = [str(program), "--dev-bind", "/", "/", *words, "--"]
    if not program or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("mounts need bwrap and namespaces")
    return command


def _plainly() -> list[str]:
    """The words that drop the capabilities of root, so that file permissions apply to it."""
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        pytest.skip("testing permissions as root needs setpriv")
    return ["setpriv", "--securebits", "+noroot", "--inh-caps", "-all", "--bounding-set", "-all"]


@dataclass
class Disks:
    """Folders below `root` that cannot keep state, as the commands of one process see them."""

    root: Path
    process: Forks

    def run(self, renter: Renter, name: str) -> Run:
        """A `clore` whose state folder is this one."""
        return _of(renter, self.root / name, self.process)


PAGES = (4, 16, 24, 28, 32, 40, 44, 48, 52, 80)


@pytest.fixture(scope="module")
def disks(market: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Disks:
    """A private mount namespace in which permissions apply; it has a disk for each of `PAGES`."""
    root = tmp_path_factory.mktemp("disks")
    sizes = {"full": 1, **{str(pages): pages for pages in PAGES}}
    for name in ("read_only", "with_a_ledger", *sizes):
        (root / name).mkdir()
    (root / "read_only_mode").mkdir(mode=0o500)
    (root / "closed").mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(root / "closed", 1234, 1234)
    key = market.create_account({"bitcoin": 1})
    there = environment(root / "with_a_ledger", CLORE_BASE_URL=market.base_url, CLORE_API_KEY=key)
    Clore(root / "with_a_ledger", there)("wallets")
    words = []
    for name in ("read_only", "with_a_ledger"):
        words += ["--ro-bind", str(root / name), str(root / name)]
    for name, pages in sizes.items():
        words += ["--size", str(pages * 4096), "--tmpfs", str(root / name)]
    fill = ["sh", "-c", f'head -c 4096 /dev/zero > {root}/full/other; exec "$@"', "sh"]
    before = (*_bwrap(*words), *fill, *_plainly())
    return Disks(root, of_clore(before=before))


def without_locks(renter: Renter, home: Path) -> Run:
    """Imitates NFS without its lock daemon: the lock call fails in the child as there."""
    folder = home.with_name("site")
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_NO_LOCKS)
    return _of(renter, home, of_clore(env={**os.environ, "PYTHONPATH": str(folder)}))


def of_another_user(renter: Renter, home: Path) -> Run:
    if os.geteuid() != 0:
        return _in(renter, Path("/usr/share"))
    home.mkdir(mode=0o755)
    os.chown(home, 1234, 1234)
    return _in(renter, home)


def newer(renter: Renter, home: Path) -> Run:
    _in(renter, home)("wallets")
    with sqlite3.connect(home / "state.sqlite") as db:
        db.execute("PRAGMA user_version=99")
    db.close()
    return _in(renter, home)


def a_file(renter: Renter, home: Path) -> Run:
    home.write_text("")
    return _in(renter, home)


def in_a_file(renter: Renter, home: Path) -> Run:
    home.write_text("")
    return _in(renter, home / "below")


def dangling(renter: Renter, home: Path) -> Run:
    home.symlink_to(home.with_name("nowhere"))
    return _in(renter, home)


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (without_locks, "file system without locks"),
        (of_another_user, "belongs to another user"),
        (newer, "was written by a newer clore"),
        (a_file, "is a file"),
        (in_a_file, "Not a directory"),
        (dangling, "it is a broken link"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_nothing_is_rented_and_other_commands_work(
    renter: Renter, tmp_path: Path, case: Case, said: str
) -> None:
    """deploy: exit 2 and one sentence with a way out. orders, ssh and cancel work as usual."""
    check_that_nothing_is_rented(renter, case(renter, tmp_path / "other"), said)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("read_only", "Read-only file system"),
        ("with_a_ledger", "Read-only file system"),
        ("read_only_mode", "Permission denied"),
        ("full", "free disk space"),
        ("closed", "belongs to another user"),
    ],
)
def test_nothing_is_rented_with_a_bad_disk(
    renter: Renter, disks: Disks, name: str, said: str
) -> None:
    """The same for mounts and permissions."""
    if name == "closed" and os.geteuid() != 0:
        pytest.skip("only root can make one")
    check_that_nothing_is_rented(renter, disks.run(renter, name), said)


def check_that_nothing_is_rented(renter: Renter, run: Run, said: str) -> None:
    order = renter.rent()
    free = renter.server()
    for more in ((), ("--ref", "a")):
        refused = run("deploy", free, *WORDS, *more, "--json", fails=2)
        assert refused.out == ""
        message = refused.err.splitlines()[-1]
        assert said in message, refused
        assert "CLORE_HOME" in message, refused
    run("deploy", free, *WORDS[:-2], fails=2)  # with a key generated by clore, to be stored there
    for words in (("ledger", "--offline"), ("orphans",)):
        assert "CLORE_HOME" in run(*words, fails=2).err
    assert renter.orders() == [order]

    listed = run("orders", "--json")
    assert [o["id"] for o in listed.data] == [order]
    assert len(listed.err.splitlines()) <= 1
    assert run("wallets", "--json").data
    assert run("ssh", order, "--json").data["order_id"] == order
    assert f"Cancelled: order {order}." in run("cancel", order).err


@pytest.mark.parametrize(
    "pages",
    [n if n in (4, 28, 44, 80) else pytest.param(n, marks=pytest.mark.exhaustive) for n in PAGES],
)
def test_a_disk_that_fills_up_during_a_command(renter: Renter, disks: Disks, pages: int) -> None:
    """At any point either nothing is rented, or stdout has the order's id."""
    user = renter.with_(CLORE_HOME=str(disks.root / str(pages)))
    done = user("deploy", renter.server(), *WORDS, fails=None, process=disks.process)
    if done.code:
        assert (done.code, renter.orders()) == (2, []), done
        assert "free disk space" in done.err
    else:
        assert renter.orders() == [int(done.out)]
        renter("cancel", int(done.out))


@pytest.mark.parametrize(
    "how",
    [
        *("noise", "empty", "a bit", "no text"),
        *(pytest.param(each, marks=pytest.mark.exhaustive) for each in ("cut", "zeros")),
    ],
)
def test_a_damaged_ledger_is_set_aside_and_rebuilt(renter: Renter, how: str) -> None:
    """The next command names the copy; the new ledger has the running orders, no orphans."""
    order = renter.rent("--purpose", "training")
    path = renter.home / "state.sqlite"
    if how == "noise":
        path.write_bytes(os.urandom(20_000))
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    elif how == "empty":
        path.write_bytes(b"")
    elif how in ("a bit", "no text"):  # in the schema: a table's name, or an invalid character
        content = bytearray(path.read_bytes())
        content[content.index(b"TABLE intents") + 8] ^= 1 if how == "a bit" else 0x80
        path.write_bytes(content)
    else:
        with path.open("r+b") as file:
            file.seek(100)
            file.write(bytes(3000))
    before = path.read_bytes()
    said = renter("wallets").err
    aside = renter.home / "state.damaged-1.sqlite"
    assert f"The ledger was damaged: it is kept as {aside}, and was rebuilt" in said
    assert aside.read_bytes() == before
    assert renter("wallets").err == ""
    assert renter("orphans", "--check").out == ""
    (row,) = renter("ledger", "--json").data["orders"]
    assert (row["order_id"], row["state"]) == (order, "running")
    renter("cancel", order)


def test_a_damaged_ledger_without_a_network(renter: Renter) -> None:
    """The next command that reaches the service rebuilds it, for each account its own part."""
    order = renter.rent()
    key = renter.market.create_account({"bitcoin": 1, "USD-Blockchain": 1})
    (renter.home / "state.sqlite").write_bytes(b"no database" * 100)
    renter.fault("my_orders", "500", times=1)
    assert "rebuilt" not in renter("wallets").err
    assert "rebuilt from your orders (0)" in renter.with_(CLORE_API_KEY=key)("wallets").err
    assert "rebuilt from your orders (1)" in renter("wallets").err
    assert renter("orphans", "--check").out == ""
    renter("cancel", order)


def test_a_damaged_row_rents_nothing(renter: Renter) -> None:
    """If found in the middle of a command: exit 2 and the path of the file; cancel still works."""
    order = renter.rent()
    path = renter.home / "state.sqlite"
    for words, code in ((("deploy", renter.server(), *WORDS), 2), (("orders",), 0)):
        with sqlite3.connect(path) as db:
            db.execute("UPDATE intents SET known_ids = '[1,'")
        db.close()
        said = renter(*words, fails=code).err
        assert "state.sqlite was damaged (a row's known_ids" in said
        assert "it is kept as" in said
        renter("orders")
    path.write_bytes(b"")
    said = renter("deploy", renter.server(), *WORDS, "--ref", "a", fails=2).err
    assert "damaged, so nothing was rented" in said
    assert "clore budget set" in said
    assert renter.orders() == [order]
    assert f"Cancelled: order {order}." in renter("cancel", order).err


def test_a_damaged_job_record(renter: Renter) -> None:
    """`jobs` reports it and lists the others; a command for it says how to forget it, exit 2."""
    place = renter.home / "jobs" / "3"
    place.mkdir(parents=True)
    record = '{"id": 3, "outputs": "../../.ssh"}'
    Store(renter.home).run(lambda db: db.execute("INSERT INTO jobs VALUES (3, ?)", (record,)))
    assert "Job 3 can't be read" in renter("jobs").err
    for command in ("logs", "attach", "stop"):
        assert f"move {place} away" in renter(command, 3, fails=2).err
