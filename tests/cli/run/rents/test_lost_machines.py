"""`clore run` that rents: a lost machine is replaced within the limits, and its host remembered."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import broken
import pytest
from tests.cli.driver import Renter, followers, masters
from tests.cli.run.rents.conftest import WISH, ledger_of, running
from waiting import until

from clore_ai.models.price import Rates
from clore_ai.rental.limits.expiry import cost_usd

if TYPE_CHECKING:
    from pathlib import Path


def test_a_lost_host_is_replaced(renter: Renter, folder: Path) -> None:
    """A new machine gets the outputs that had been fetched; the old order is cancelled.

    The lost host is not taken again, though it is back and cheapest; `clore hosts` lists it.
    """
    renter.fault("create_order", "host_dies", delay_s=12.0)
    script = (
        "mkdir -p o; if [ -e o/half ]; then echo again; cat o/half; echo 2 > o/whole; exit 4; fi; "
        "echo 1 > o/half; echo first; sleep 600"
    )
    words = (
        "run", *WISH, "--verify", "ssh", "--retry-on-host-loss", "--lost-after", "0.05m",
        "--folder", folder, "--output", "o", "--fetch-every", 0.2, "--", script,
    )  # fmt: skip
    with renter.start(*words) as process:
        assert process.stderr is not None
        said = ""
        while "lost with its machine" not in said:
            said += process.stderr.readline() or pytest.fail(said)
        first = ledger_of(renter).intents()[0]
        renter.market.set_online(first.server_id, online=True)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (4, "first\nagain\n1\n"), said + err
    assert (folder / "o" / "whole").read_text() == "2\n"
    assert len(renter.orders()) == 2
    assert running(renter) == []
    states = [job["state"] for job in renter("jobs", "--json").data]
    assert states == ["lost", "ended"]
    last = ledger_of(renter).intents()[-1]
    assert last.server_id != first.server_id
    seen = {row["server_id"]: row for row in renter("hosts", "--json").data["seen"]}
    assert (seen[first.server_id]["lost"], seen[first.server_id]["counting"]) == (1, 1)
    assert seen[last.server_id]["lost"] == 0
    assert "lost during a job" in renter("hosts").out


def test_attach_records_the_loss_of_a_host(renter: Renter, folder: Path) -> None:
    """`attach` records it too, for a job whose clore was killed."""
    renter.fault("create_order", "host_dies", delay_s=7_200)
    words = ("--verify", "ssh", "--folder", folder, "--lost-after", "0.05m")
    with renter.start("run", *WISH, *words, "--", "echo up; sleep 600") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.kill()
    renter.market.jump(3 * 3_600)
    renter("attach", 1, fails=1)
    (seen,) = renter("hosts", "--json").data["seen"]
    assert (seen["boots"], seen["lost"]) == (1, 1)


def test_a_cancel_elsewhere_is_not_held_against_the_host(renter: Renter, folder: Path) -> None:
    """A cancel from another terminal leaves no mark on the host's record."""
    process = renter.start("run", *WISH, "--folder", folder, "--", "echo up; sleep 600")
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        renter("cancel", *renter.orders())
        process.communicate(timeout=60)
    (seen,) = renter("hosts", "--json").data["seen"]
    assert (seen["boots"], seen["failures"]) == (1, 0)


@pytest.mark.parametrize("moment", ["before", "while it boots", "while it runs"])
def test_without_a_network_one_order_is_made_and_no_host_blamed(
    renter: Renter, folder: Path, tmp_path: Path, moment: str
) -> None:
    """No network at the start: no order. A running job is waited for, and never counted as lost."""
    ssh = broken.Ssh(tmp_path / "programs")
    env = {"PATH": f"{ssh.folder}:{renter.env['PATH']}"}
    words = ("run", *WISH, "--retry-on-host-loss", "--lost-after", "0.02m", "--folder", folder)
    if moment == "before":
        renter("config", "set", "ssh_options", "-J me@127.0.0.1:9")
        done = renter(*words, "--", "true", fails=1, **env)
        assert "Nothing was rented. The jump host 127.0.0.1:9 of ssh_options" in done.err
        assert renter.orders() == []
        return
    if moment == "while it boots":
        ssh.breaks()
        done = renter(*words, "--", "true", fails=1, **env)
        assert "ssh has no way out of this machine" in done.err
    else:
        flag = tmp_path / "go"
        with renter.start(*words, "--", f"echo up; until [ -e {flag} ]; do sleep 0.1; done; exit 4",
                          env=env) as process:  # fmt: skip
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            ssh.breaks()
            cut(renter)
            until(lambda: ssh.tries >= 5, "tries to connect", 60)
            assert process.poll() is None
            ssh.mends()
            flag.touch()
            _, err = process.communicate(timeout=60)
        assert process.returncode == 4, err
        assert "ssh has no way out of this machine" in err
    assert len(renter.orders()) == 1
    assert running(renter) == []
    seen = renter("hosts", "--json").data["seen"]
    assert [row["failures"] for row in seen] in ([], [0])


def cut(renter: Renter) -> None:
    """Cut the job's connection, as a network that goes away does."""
    for pid in masters(renter.home):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_max_cost_covers_all_machines_of_a_job(renter: Renter, folder: Path) -> None:
    """The billed cost of a lost machine counts; once the limit is used up the exit code is 7."""
    words = (
        "run", *WISH, "--retry-on-host-loss", "--lost-after", "0.05m", "--folder", folder,
        "--output", "seen", "--fetch-every", 0.2, "--",
    )  # fmt: skip
    script = "[ ! -e seen ] || exit 4; touch seen; echo up; sleep 600"
    ledger = ledger_of(renter)

    def lost_after_two_hours(max_cost: float) -> tuple[int, str]:
        (folder / "seen").unlink(missing_ok=True)
        renter.fault("create_order", "host_dies", delay_s=7_200)
        with renter.start(*words[:-1], "--max-cost", max_cost, *words[-1:], script) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            until((folder / "seen").exists, "the first fetch")
            renter.market.jump(3 * 3_600)
            _, err = process.communicate(timeout=100)
        return process.returncode, err

    code, err = lost_after_two_hours(20)
    assert code == 4, err
    first, last = sorted(ledger.intents(), key=lambda intent: intent.id or 0)
    cost = cost_usd(first, Rates())
    assert cost is not None
    assert 0.01 < cost < 20
    assert first.max_cost_usd == 20
    assert last.max_cost_usd == pytest.approx(20 - cost)
    assert f"It has cost ${cost:.4f} so far" in err

    code, err = lost_after_two_hours(cost * 0.8)
    assert code == 7
    assert "does not start again" in err
    assert len(renter.orders()) == 3
    assert running(renter) == []


def test_a_follower_handles_a_lost_host(renter: Renter, folder: Path) -> None:
    """The follower records the loss and cancels the machine with no command running."""
    renter.fault("create_order", "host_dies", delay_s=7_200)
    words = ("--verify", "ssh", "--detach", "--folder", folder, "--lost-after", "0.05m")
    renter("run", *WISH, *words, "--", "sleep 600")
    renter.market.jump(3 * 3_600)
    until(lambda: renter("orders", "--json").data == [], "the order's end", 90)
    until(lambda: not followers(renter), "the end of the follower")
    (job,) = renter("jobs", "--json").data
    assert (job["state"], job["cancelled"]) == ("lost", True)
