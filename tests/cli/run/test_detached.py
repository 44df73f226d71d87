"""Detached jobs: every job is completed exactly once, whichever process was killed meanwhile."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.cli.driver import followers, kill_follower
from waiting import until

if TYPE_CHECKING:
    from tests.cli.driver import Renter

SCRIPT = "echo up; until [ -e go ]; do sleep 0.1; done; mkdir o; echo 1 > o/x; echo went; exit 5"


@pytest.fixture
def order(renter: Renter, folder: Path) -> int:
    """An order with detached job 1, which waits for a file `go` and fetches `o`."""
    order = renter.rent()
    words = ("--order", order, "--cancel", "--detach", "--folder", folder, "--output", "o")
    renter("run", *words, "--lost-after", "0.05m", "--", SCRIPT)
    return order


def go(renter: Renter, order: int) -> None:
    renter("ssh", order, "--", "touch work/w/go")


def has_handler(pid: int, number: int) -> bool:
    """Whether the process has a handler for this signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.split("SigCgt:")[1].split()[0], 16) >> (number - 1) & 1)


def check_end(renter: Renter, folder: Path, order: int) -> None:
    """Check the job's end: outputs, log, exit code, and one cancel of the machine."""
    until(lambda: renter("orders", "--json").data == [], "the order's end", 60)
    until(lambda: not followers(renter), "the end of the follower", 60)
    (job,) = renter("jobs", "--json").data
    assert (job["state"], job["exit"], job["fetched"], job["cancelled"]) == ("ended", 5, True, True)
    assert (folder / "o" / "x").read_text() == "1\n"
    assert renter("logs", 1).out == "up\nwent\n"
    answers = [e for e in renter.requests("cancel_order") if e.order == order or e.order is None]
    assert len(answers) == 1


def test_a_follower_completes_the_job(renter: Renter, folder: Path, order: int) -> None:
    """The follower has a session of its own, and its command line holds no key."""
    (pid,) = followers(renter)
    assert os.getsid(pid) == pid
    assert renter.key.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert renter("jobs", "--json").data[0]["state"] == "watched"
    go(renter, order)
    check_end(renter, folder, order)
    said = (renter.home / "jobs" / "1" / "watcher.log").read_text()
    assert "ended with 5" in said
    assert f"Cancelled: order {order}" in said
    renter.check(said)


@pytest.mark.parametrize(
    "who", ["reap", "jobs", pytest.param("attach", marks=pytest.mark.exhaustive)]
)
def test_the_next_command_completes_a_job_whose_follower_was_killed(
    renter: Renter, folder: Path, order: int, who: str
) -> None:
    """The job ends without a follower; the next command, whichever it is, completes it."""
    kill_follower(renter)
    home = Path(renter("ssh", order, "--", "pwd").out.strip())
    go(renter, order)
    (code,) = home.glob(".clore/jobs/*/code")
    until(lambda: code.read_text().strip() == "5", "the job's end")
    if who == "reap":
        (found,) = renter("reap", "--dry-run", "--json").data
        assert (found["event"], found["id"], found["state"]) == ("job", 1, "done")
        done = renter("reap", "--json")
        assert "Job 1 has ended" in done.err
        assert [(e["event"], e["exit"], e["cancelled"]) for e in done.data] == [("job", 5, True)]
    elif who == "jobs":
        assert "Job 1 had ended" in renter("jobs").err
    else:
        assert renter("attach", 1, fails=5).out.endswith("went\n")
    check_end(renter, folder, order)
    assert renter("reap", "--json").data == []


def test_concurrent_commands_complete_a_job_once(renter: Renter, folder: Path, order: int) -> None:
    """Of four commands at the same moment one completes the job; the others leave it alone."""
    kill_follower(renter)
    go(renter, order)
    several = [renter.start("reap" if i % 2 else "jobs") for i in range(4)]
    for process in several:
        _, err = process.communicate(timeout=90)
        assert process.returncode == 0, err
    check_end(renter, folder, order)


def test_a_job_whose_order_was_cancelled_is_lost(renter: Renter, folder: Path, order: int) -> None:
    """After a cancel elsewhere, with no follower, the loss is recorded and not retried."""
    kill_follower(renter)
    renter("cancel", order)
    assert "Job 1 has ended" in renter("reap").err
    (job,) = renter("jobs", "--json").data
    assert (job["state"], job["exit"], job["cancelled"]) == ("lost", None, True)
    assert renter("reap", "--json").data == []


def test_a_follower_leaves_the_job_to_attach_or_stop(
    renter: Renter, folder: Path, order: int
) -> None:
    """After SIGTERM the follower leaves the job as it is; `stop` does the rest."""
    (pid,) = followers(renter)
    os.kill(pid, signal.SIGTERM)
    until(lambda: not followers(renter), "the end of the follower")
    assert "was not watched" in renter("jobs").err
    until(lambda: renter("jobs", "--json").data[0]["state"] == "watched")
    with renter.start("attach", 1) as attached:
        assert attached.stdout is not None
        until(lambda: not followers(renter), "the follower's exit")
        until(lambda: has_handler(attached.pid, signal.SIGHUP), "the handler of attach")
        attached.send_signal(signal.SIGHUP)
        attached.communicate(timeout=60)
    assert attached.returncode == 129
    assert len(followers(renter)) == 1
    done = renter("stop", 1)
    assert "was stopped" in done.err
    assert f"Cancelled: order {order}" in done.err
    assert renter("jobs", "--json").data[0]["state"] == "stopped"
    assert followers(renter) == []


def test_a_follower_retries_the_cancel(renter: Renter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The follower has nothing else to do: it retries until the machine is gone."""
    from clore_ai import CloreAI
    from clore_ai.jobs import Jobs, Life, life

    monkeypatch.setattr(life, "_AGAIN_S", 0.2)
    order = renter.rent()
    with CloreAI(renter.key, renter.market.base_url, state=renter.home) as api:
        jobs = Jobs.of(api.session)
        facts = {"order_id": order, "command": ["true"], "folder": "/", "work": "work/w"}
        job = jobs.add({**facts, "cancels": True})
        job.state, job.code = "ended", 0
        jobs.save(job)
        jobs.mark(job.id).write_text("")
        renter.fault("cancel_order", "cdn_403", times=2)
        assert api.in_loop(lambda engine: Life(engine, jobs).until_cancelled(job)) is None
        assert jobs.get(job.id).cancelled
        assert renter("orders", "--json").data == []
