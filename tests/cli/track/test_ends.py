"""How a job ends: its own exit code, no machine left, and one reason in every command."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable

import httpx
import pytest
from tests.cli.driver import Renter

if TYPE_CHECKING:
    from clore_sandbox import Sandbox

JOB = "echo up; sleep 600"


def active(renter: Renter) -> list[int]:
    return [row["id"] for row in renter("orders", "--json").data]


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("kill -9 $$", 137),
        ("no-such-program", 127),
        ("true", 0),
        *(
            pytest.param(script, code, marks=pytest.mark.exhaustive)
            for script, code in (
                ("kill -TERM $$", 143),
                ("printf '#!/no/such/interpreter\\n' > x; chmod +x x; ./x", 127),
                ("exit 3", 3),
            )
        ),
    ],
)
def test_a_job_that_dies_before_it_writes_its_output(
    renter: Renter, order: int, folder: Path, script: str, code: int
) -> None:
    """Its own code, a message on the missing output, no machine left; also with a German locale."""
    words = ("--order", order, "--cancel", "--folder", folder, "--output", "o")
    german = {"LC_ALL": "de_DE.UTF-8", "LANG": "de_DE.UTF-8"}
    done = renter("run", *words, "--", script, fails=code, **german)
    assert "o does not exist on the machine" in done.err
    assert f"Cancelled: order {order}" in done.err
    assert active(renter) == []


def test_a_lost_job_releases_its_machine(renter: Renter, order: int, folder: Path) -> None:
    """The last fetch fails for lack of tar: that is reported, and the machine is cancelled."""
    order = renter.rent("--env", f"PATH={without(folder.parent, 'tar')}")
    words = ("--order", order, "--cancel", "--no-upload", "--folder", folder, "--output", "o")
    script = "mkdir o; touch o/x; kill -9 $(cat ~/.clore/jobs/*/pid) $$"
    done = renter("run", *words, "--", script, fails=1)
    assert "left no exit code" in done.err
    assert "could not be fetched" in done.err
    assert f"Cancelled: order {order}" in done.err


def without(place: Path, *names: str) -> Path:
    """A folder of programs without these."""
    kept = place / "programs"
    kept.mkdir()
    for each in os.environ["PATH"].split(os.pathsep):
        for program in Path(each).glob("*") if Path(each).is_dir() else ():
            if program.name not in names and not (kept / program.name).exists():
                (kept / program.name).symlink_to(program)
    return kept


@pytest.mark.parametrize("full", [".clore", "work"])
def test_a_disk_full_from_the_start(renter: Renter, order: int, folder: Path, full: str) -> None:
    """The message names the full disk, not some program's error; exit 1, machine cancelled."""
    small = Path(renter("ssh", order, "--", "pwd").out.strip()) / full
    small.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=2", "tmpfs", str(small)]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        with (small / "fill").open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
    except OSError:
        pass
    try:
        done = renter("run", "--order", order, "--cancel", "--folder", folder, "--", "true",
                      fails=1)  # fmt: skip
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
    assert "The machine's disk is full" in done.err
    assert f"Cancelled: order {order}" in done.err


def test_an_output_newer_here_is_kept(renter: Renter, order: int, folder: Path) -> None:
    """A file changed here after the job began is not overwritten, and a message says so."""
    (folder / "o").mkdir()
    for name in ("mine", "old"):
        (folder / "o" / name).write_text("here")
    later = time.time() + 3600
    os.utime(folder / "o" / "mine", (later, later))
    script = "mkdir o; echo there > o/mine; echo there > o/old"
    done = renter("run", "--order", order, "--folder", folder, "--output", "o", "--", script)
    assert (folder / "o" / "mine").read_text() == "here"
    assert (folder / "o" / "old").read_text() == "there\n"
    assert "o/mine (the local file was changed and is newer)" in done.err


def test_no_upload_on_a_fresh_machine(renter: Renter, order: int, folder: Path) -> None:
    """The job makes its folder, since the machine has none yet."""
    words = ("--order", order, "--no-upload", "--folder", folder, "--output", "o")
    assert renter("run", *words, "--", "mkdir o; echo 1 > o/x; pwd").out.endswith("work/w\n")
    assert (folder / "o" / "x").read_text() == "1\n"


def test_logs_of_a_job_that_ends_meanwhile(renter: Renter, order: int, folder: Path) -> None:
    """Its follower has just cancelled the order: `logs -f` does not report an error."""
    from clore_ai import CloreAI
    from clore_ai.jobs import Jobs
    from clore_ai.jobs.status import read

    renter("run", "--order", order, "--cancel", "--folder", folder, "--", "echo up")
    with CloreAI(renter.key, renter.market.base_url, state=renter.home) as api:
        jobs = Jobs.of(api.session)
        job = jobs.get(1)
        job.state = "running"  # as listed when the command began
        shown: list[bytes] = []
        api.in_loop(lambda engine: read(engine, jobs, job, shown.append, follow=True))
    assert b"".join(shown) == b"up\n"


def cancel_elsewhere(renter: Renter, order: int) -> None:
    httpx.post(
        f"{renter.market.base_url}/cancel_order", headers={"auth": renter.key}, json={"id": order}
    ).raise_for_status()


def to_its_longest(renter: Renter, order: int) -> None:
    (row,) = renter("orders", "--json").data
    renter.market.top_up(renter.key, "USD-Blockchain", 100_000)
    renter.market.jump(row["mrl"] + 60)


def to_an_empty_wallet(renter: Renter, _order: int) -> None:
    renter.market.jump(2 * 3600)


def here(renter: Renter, order: int) -> None:
    renter("cancel", order)


@pytest.fixture
def poor(renter: Renter, market: Sandbox) -> Renter:
    """A user whose money lasts for minutes."""
    key = market.create_account({"USD-Blockchain": "0.02"})
    env = {**renter.env, "CLORE_API_KEY": key}
    return Renter(renter.home, env, key, market=market, take=renter.take)


@pytest.mark.parametrize(
    ("end", "reason", "code"),
    [
        (here, "cancelled here", 1),
        (cancel_elsewhere, "ended elsewhere", 1),
        (to_its_longest, "longest rental reached", 1),
        (to_an_empty_wallet, "wallet empty", 7),
    ],
    ids=lambda each: each.__name__ if callable(each) else "",
)
def test_the_reason_of_an_orders_end(
    renter: Renter,
    poor: Renter,
    folder: Path,
    end: Callable[[Renter, int], None],
    reason: str,
    code: int,
) -> None:
    """`run`, `jobs`, `orders`, `ledger` give one reason; an empty wallet is 7."""
    user = poor if end is to_an_empty_wallet else renter
    order = user.rent()
    words = ("--order", order, "--cancel", "--lost-after", "5s", "--folder", folder)
    with user.start("run", *words, "--", JOB) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        end(user, order)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    said = {"wallet empty": "wallet is empty", "ended elsewhere": "has ended elsewhere"}
    assert err.count(said.get(reason, f"has ended: {reason}")) == 1, err
    assert user("jobs", "--json").data[-1]["why"] == reason
    (row,) = user("orders", "--completed", "--json").data
    assert row["why"] == reason
    assert reason in user("orders", "--completed").out
    (row,) = user("ledger", "--json").data["orders"]
    assert row["reason"] == reason


def test_a_job_whose_order_was_cancelled_is_not_restarted(renter: Renter, folder: Path) -> None:
    """--retry-on-host-loss is for lost hosts: nothing is rented again after the user's cancel."""
    words = ("--gpu", "RTX", "--currency", "USD", "--yes", "--verify", "ssh", "--folder", folder)
    with renter.start("run", *words, "--retry-on-host-loss", "--", JOB) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        renter("cancel", *active(renter))
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert len(renter.orders()) == 1


def test_the_end_of_an_order_is_reported_once(poor: Renter) -> None:
    """The first command that sees the end reports it; the next one does not repeat it."""
    order = poor.rent()
    poor.market.jump(2 * 3600)
    first, second = poor("wallets"), poor("orders")
    assert "has ended" not in first.err
    assert f"Order {order}" in second.err
    assert "wallet is empty" in second.err
    assert "has ended" not in poor("orders").err


def test_a_limit_is_the_reason(renter: Renter) -> None:
    """An order that `reap` cancelled has the limit as its reason."""
    order = renter.rent("--lease", "1h", "--no-keeper")
    renter.market.jump(2 * 3600)
    renter("reap")
    (row,) = renter("orders", "--completed", "--json").data
    assert (row["id"], row["why"]) == (order, "lease over")
