"""`clore run` without --order rents, verifies, uses and cancels a machine."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from tests.cli.driver import FLEET, Clore, Renter, interrupt, kill_follower
from tests.cli.run.rents.conftest import WISH, running
from waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from clore_sandbox import Sandbox


def test_run_rents_runs_fetches_and_cancels(renter: Renter, folder: Path) -> None:
    """Output, results, cost and the job's exit code are all there; no order goes on."""
    (folder / "x").write_text("1\n")
    script = "nvidia-smi -L | cut -c1-6; cat x; mkdir o; echo 2 > o/y; exit 4"
    done = renter("run", *WISH, "--folder", folder, "--output", "o", "--", script, fails=4)
    assert done.out == "GPU 0:\n1\n"
    assert (folder / "o" / "y").read_text() == "2\n"
    assert "Rented: order" in done.err
    assert "It ran" in done.err
    assert "cost" in done.err
    assert running(renter) == []
    (job,) = renter("jobs", "--json").data
    assert (job["state"], job["exit"], job["cancels"], job["cancelled"]) == ("ended", 4, True, True)


def test_keep_leaves_the_machine_with_a_lease(renter: Renter, folder: Path) -> None:
    """--order uses the machine again and uploads only changes; the machine stays until a cancel."""
    renter("run", *WISH, "--keep", "--lease", "2h", "--folder", folder, "--", "echo 1 > kept")
    (order,) = running(renter)
    (lease,) = renter("lease", "--json").data
    assert 6_000 < lease["left_s"] <= 7_200
    assert renter("run", "--order", order, "--folder", folder, "--", "cat kept").out == "1\n"
    renter("run", "--order", order, "--cancel", "--folder", folder, "--", "true")
    assert running(renter) == []


def test_a_bid_is_raised_once_a_command_follows_the_job(
    renter: Renter, folder: Path, market: Sandbox
) -> None:
    """If it was outbid while no command followed the job, attach raises it, up to the limit."""
    words = ("--gpu", "RTX", "--currency", "USD", "--spot", "--max-bid", "5/h", "--yes")
    rented = renter("run", *words, "--detach", "--folder", folder, "--", "sleep 300")
    assert "Nothing raises its bid" not in rented.err
    kill_follower(renter)
    (order,) = renter("orders", "--json").data
    key = market.create_account({"USD-Blockchain": 1_000})
    home = renter.home.with_name(".rival")
    rival = Clore(home, {**renter.env, "CLORE_API_KEY": key, "CLORE_HOME": str(home)}, key)
    bid = order["price"] + 0.5
    rival("deploy", order["server_id"], "--image", "img", "--type", "spot",
          "--currency", "USD", "--spot-price", bid)  # fmt: skip
    (stands,) = renter("orders", "--json").data
    assert stands["status"] != "running"
    watching = renter.start("attach", 1)
    with watching:
        # The disk may be lost with the turn; then the job is lost, and the machine cancelled. A
        # background process that took the job over first may have raised the bid before.
        whole = ("orders", "--completed", "--json")
        assert watching.stderr is not None
        said = ""
        while "The bid was raised to" not in said and (line := watching.stderr.readline()):
            said += line
        assert "The bid was raised to" in said or "came back with an empty disk" in said
        assert bid < renter(*whole).data[0]["price"] < bid + 0.01
        with suppress(ProcessLookupError):
            interrupt(watching)
        watching.communicate("c\n", timeout=60)
    assert running(renter) == []


def test_contradictory_options_are_refused(renter: Renter, folder: Path) -> None:
    """Nothing is rented and no job is recorded."""
    for words, said in (
        (("--order", 7, "--gpu", "RTX"), "--gpu applies to a new rental"),
        (("--order", 7, "--image", "x"), "--image applies to a new rental"),
        (("--order", 7, "--retry-on-host-loss"), "can't be combined with --order"),
        (("--order", 7, "--keep", "--cancel"), "contradict each other"),
        (("--gpu", "RTX", "--yes", "--cancel"), "--cancel needs --order"),
        (("--gpu", "RTX", "--currency", "USD"), "Add --yes"),
    ):
        assert said in renter("run", "--folder", folder, *words, "--", "true", fails=2).err
    assert renter("run", "--gpu", "NoSuch", "--yes", "--", "true", fails=6).err
    assert renter.orders() == []
    assert renter("jobs", "--json").data == []


def test_an_unusable_state_folder_is_found_before_renting(renter: Renter, folder: Path) -> None:
    """Nothing is rented, so it costs nothing."""
    renter.home.mkdir(mode=0o700, exist_ok=True)
    (renter.home / "jobs").write_text("in the way")
    done = renter("run", *WISH, "--folder", folder, "--", "true", fails=2)
    assert "can't be written" in done.err
    assert renter.orders() == []


STEPS = ("balance", "Renting", "Created order", "SSH logs in", "Rented", "Uploaded")


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(each, marks=pytest.mark.exhaustive) if each in ("Renting", "Rented") else each
        for each in STEPS
    ],
)
def test_ctrl_c_at_any_moment_leaves_nothing(renter: Renter, folder: Path, step: str) -> None:
    """Ctrl-C during search, rental, check, upload or run: exit 130 and no more cost."""
    process = renter.start("run", *WISH, "--folder", folder, "--", "sleep 600")
    with process:
        assert process.stderr is not None
        said = ""
        while step not in said:
            said += process.stderr.readline() or pytest.fail(said)
        interrupt(process)
        _, err = process.communicate(timeout=60)
    # CPython dies of the signal itself if it arrives while source text makes a class.
    assert process.returncode in (130, -signal.SIGINT), said + err
    assert "Traceback" not in err
    until(lambda: running(renter) == [], "an end")


def test_ctrl_c_spares_orders_of_other_commands(renter: Renter, folder: Path) -> None:
    """An order made meanwhile by another command with the same key is kept."""
    servers = FLEET["servers"]
    # The most expensive server that takes USD, which no test takes by itself.
    dear = max(
        (s for s in servers if not s["rented"] and "USD-Blockchain" in s["allowed_coins"]),
        key=lambda s: s["price"]["usd"]["on_demand_usd"],
    )
    renter.fault("marketplace", "late", delay_s=8)
    process = renter.start("run", *WISH, "--folder", folder, "--", "sleep 600")
    with process:
        until(lambda: renter.requests("marketplace"), "its look")
        other = renter.rent(server=dear["id"])
        interrupt(process)
        _, err = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT), err
    assert running(renter) == [other]


def test_stop_ends_a_job_whose_clore_was_killed(renter: Renter, folder: Path) -> None:
    """After a kill -9 `clore jobs` lists the job, and `clore stop` ends the job and its machine."""
    process = renter.start("run", *WISH, "--folder", folder, "--", "echo up; sleep 600")
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        os.kill(process.pid, signal.SIGKILL)
    assert renter("jobs", "--json").data[0]["state"] == "running"
    renter("stop", 1)
    assert running(renter) == []
