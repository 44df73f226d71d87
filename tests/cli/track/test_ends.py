"""How a job ends: with its own code, the machine gone, and why its order ended said the same."""

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
        ("kill -TERM $$", 143),
        ("no-such-program", 127),
        ("printf '#!/no/such/interpreter\\n' > x; chmod +x x; ./x", 127),
        ("exit 3", 3),
        ("true", 0),
    ],
)
def test_a_job_that_dies_before_it_writes_its_output(
    renter: Renter, order: int, folder: Path, script: str, code: int
) -> None:
    """Its own code, the missing output said, the machine gone; also in German."""
    words = ("--order", order, "--cancel", "--folder", folder, "--output", "o")
    german = {"LC_ALL": "de_DE.UTF-8", "LANG": "de_DE.UTF-8"}
    done = renter("run", *words, "--", script, fails=code, **german)
    assert "o does not exist on the machine" in done.err
    assert f"Cancelled: order {order}" in done.err
    assert active(renter) == []


def test_a_lost_job_holds_no_machine(renter: Renter, order: int, folder: Path) -> None:
    """Its last fetch fails, for there is no tar: said, and the machine goes."""
    order = renter.rent("--env", f"PATH={without(folder.parent, 'tar')}")
    words = ("--order", order, "--cancel", "--no-upload", "--folder", folder, "--output", "o")
    script = "mkdir o; touch o/x; kill -9 $(cat ~/.clore/jobs/*/pid) $$"
    done = renter("run", *words, "--", script, fails=1)
    assert "left no exit code" in done.err
    assert "could not be fetched" in done.err
    assert f"Cancelled: order {order}" in done.err


def without(place: Path, *names: str) -> Path:
    """A folder of programs that lacks these."""
    kept = place / "programs"
    kept.mkdir()
    for each in os.environ["PATH"].split(os.pathsep):
        for program in Path(each).glob("*") if Path(each).is_dir() else ():
            if program.name not in names and not (kept / program.name).exists():
                (kept / program.name).symlink_to(program)
    return kept


@pytest.mark.parametrize("full", [".clore", "work"])
def test_a_disk_that_is_full_there_from_the_start(
    renter: Renter, order: int, folder: Path, full: str
) -> None:
    """It is said, not how a program there calls it; exit 1, and the machine goes."""
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


def test_an_output_that_is_newer_here_stays(renter: Renter, order: int, folder: Path) -> None:
    """What was changed here after the job began is not overwritten, and that is said."""
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
    """There is no folder of ours there yet: the job makes its own."""
    words = ("--order", order, "--no-upload", "--folder", folder, "--output", "o")
    assert renter("run", *words, "--", "mkdir o; echo 1 > o/x; pwd").out.endswith("work/w\n")
    assert (folder / "o" / "x").read_text() == "1\n"


def test_logs_of_a_job_that_ended_while_it_was_read(
    renter: Renter, order: int, folder: Path
) -> None:
    """Who watched it has ended the order just now: that is no error of `logs -f`."""
    from clore_ai import CloreAI
    from clore_ai.jobs import Jobs
    from clore_ai.jobs.status import read

    renter("run", "--order", order, "--cancel", "--folder", folder, "--", "echo up")
    with CloreAI(renter.key, renter.market.base_url, state=renter.home) as api:
        jobs = Jobs.of(api.session)
        job = jobs.get(1)
        job.state = "running"  # as it was when the command began
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
    """A user who can pay some minutes."""
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
def test_why_an_order_ended_under_a_job(
    renter: Renter,
    poor: Renter,
    folder: Path,
    end: Callable[[Renter, int], None],
    reason: str,
    code: int,
) -> None:
    """The same in `run`, `jobs`, `orders` and `ledger`, told once; 7 for an empty wallet."""
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


def test_a_job_whose_order_was_cancelled_here_is_not_begun_again(
    renter: Renter, folder: Path
) -> None:
    """--retry-on-host-loss is for hosts: what the user cancelled is not rented anew."""
    words = ("--gpu", "RTX", "--currency", "USD", "--yes", "--verify", "ssh", "--folder", folder)
    with renter.start("run", *words, "--retry-on-host-loss", "--", JOB) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        renter("cancel", *active(renter))
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert len(renter.orders()) == 1


def test_an_end_is_told_by_whoever_sees_it_first(poor: Renter) -> None:
    """Once: the next command knows it, and says no more."""
    order = poor.rent()
    poor.market.jump(2 * 3600)
    first, second = poor("wallets"), poor("orders")
    assert "has ended" not in first.err
    assert f"Order {order}" in second.err
    assert "wallet is empty" in second.err
    assert "has ended" not in poor("orders").err


def test_a_limit_is_the_reason(renter: Renter) -> None:
    """An order that `reap` ended says so."""
    order = renter.rent("--lease", "1h")
    renter.market.jump(2 * 3600)
    renter("reap")
    (row,) = renter("orders", "--completed", "--json").data
    assert (row["id"], row["why"]) == (order, "lease over")
