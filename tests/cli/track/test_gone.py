"""An empty order list or unreadable rows: no command takes that for the end of an order."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest
from tests.cli.driver import followers, masters
from waiting import until

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.cli.driver import Renter

WAITING = "echo up; until [ -e go ]; do sleep 0.1; done; echo went; exit 5"
SPOT = ("--image", "i", "--type", "spot", "--currency", "USD")


def none_listed(renter: Renter, times: int = 1) -> None:
    renter.fault("my_orders", "missing_rows", times=times)


def faults_used(renter: Renter) -> bool:
    """Whether no fault of this user is left."""
    return all(fault.key != renter.key for fault in renter.market.faults())


def go(renter: Renter, order: int) -> None:
    renter("ssh", order, "--", "touch work/w/go")


@pytest.fixture
def left(renter: Renter, order: int, folder: Path) -> int:
    """A job that waits for a file `go`, whose clore was killed."""
    with renter.start(
        "run", "--order", order, "--cancel", "--folder", folder, "--", WAITING
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "up\n"
        run.kill()
    return 1


def test_attach_keeps_a_healthy_job(renter: Renter, order: int, left: int) -> None:
    """The first list has no order: it is read again, and the job is followed to its end."""
    none_listed(renter)
    with renter.start("attach", left) as process:
        assert process.stderr is not None
        assert "does not list" in process.stderr.readline()
        go(renter, order)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (5, "went\n"), err
    assert "lost" not in err
    assert len(renter.requests("cancel_order")) == 1


def test_jobs_reap_and_followers_keep_a_healthy_job(renter: Renter, order: int, left: int) -> None:
    """`jobs` shows "unknown", not "gone"; the follower goes on."""
    none_listed(renter, 2)
    row = renter("reap", "--dry-run", "--json").data[0]
    assert (row["event"], row["state"]) == ("job", "unknown")
    none_listed(renter, 3)
    done = renter("jobs", "--json")
    assert done.data[0]["state"] == "unknown"
    assert "had ended" not in done.err
    until(lambda: followers(renter), "the follower")
    until(lambda: faults_used(renter), "its look")
    go(renter, order)
    until(lambda: not followers(renter), "the job's end", 60)
    assert renter("jobs", "--json").data[0]["exit"] == 5
    assert len(renter.requests("cancel_order")) == 1


def test_run_survives_a_cut_and_an_empty_list(renter: Renter, order: int, folder: Path) -> None:
    """The connection breaks while the list is empty; the job goes on."""
    words = ("--order", order, "--cancel", "--folder", folder)
    with renter.start("run", *words, "--", WAITING) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        none_listed(renter)
        for pid in masters(renter.home):
            os.kill(pid, signal.SIGKILL)
        until(lambda: faults_used(renter), "its looks")
        go(renter, order)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (5, "went\n"), err


def test_rent_keeps_waiting(renter: Renter) -> None:
    """The list is empty while the machine boots: the order is not given up."""
    renter.fault("my_orders", "missing_rows", times=3)
    done = renter("rent", "--gpu", "RTX", "--currency", "USD", "--yes", "--no-keeper")
    assert "did not work" not in done.err
    assert len(renter.orders()) == 1
    renter("cancel", done.out.strip())


def events(process: subprocess.Popen[str], kind: str) -> dict[str, object]:
    assert process.stdout is not None
    for line in process.stdout:
        event: dict[str, object] = json.loads(line)
        if event["event"] == kind:
            return event
    raise AssertionError(f"no {kind}")


def test_monitor_reports_only_real_ends(renter: Renter, order: int) -> None:
    """An empty list is no end; a real one is reported with its reason."""
    with renter.start("monitor", order, "--every", 1, "--no-gpu", "--json") as process:
        events(process, "status")
        none_listed(renter, 2)
        until(lambda: faults_used(renter), "its looks")
        renter("cancel", order)
        event = events(process, "ended")
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert event["reason"] == "cancelled here"
    assert "has ended: cancelled here." in str(event["message"])


def test_an_order_missing_twice_is_gone(renter: Renter, order: int) -> None:
    """If others are listed, the end is reported once and noted in the ledger."""
    other = renter.rent()
    renter.market.jump(40)  # a new order may not be listed for 30 s
    renter.fault("my_orders", "missing_rows", fields=[str(order)], times=None)
    first = renter("orders", "--json")
    assert [row["id"] for row in first.data] == [other]
    for line in (first.err, renter("lease").err, renter("reap").err):
        assert f"does not list order {order} now" in line
        assert "No order" not in line
    renter.market.jump(25)
    assert f"Order {order} on server" in renter("orphans", "--check", fails=1).err
    done = renter("orders")
    assert str(order) not in done.err + done.out
    (row,) = [r for r in renter("ledger", "--json").data["orders"] if r["order_id"] == order]
    assert (row["state"], row["reason"]) == ("ended", "no longer listed")
    renter.market.clear_faults()
    renter("cancel", order, other)


def test_an_empty_list_is_reported_as_such(renter: Renter, order: int) -> None:
    """Never "No active orders" while the ledger has one running."""
    renter.market.jump(40)  # a new order may not be listed for 30 s
    none_listed(renter, 20)
    for words in (("orders",), ("lease",), ("reap",), ("cancel", "--all", "--yes")):
        done = renter(*words)
        assert f"does not list order {order} now" in done.err, words
        assert "No " not in done.err, words
    assert "clore orders" in renter("ssh", order, "true", fails=1).err
    renter.market.clear_faults()
    renter("cancel", order)


@pytest.mark.parametrize(
    "words",
    [("orders",), ("orders", "--completed"), ("orders", "--json"), ("lease",), ("reap",),
     ("orphans",), ("cancel", "--all", "--yes"), ("monitor", "--once", "--no-gpu")],
    ids=" ".join,
)  # fmt: skip
def test_unreadable_rows(renter: Renter, words: tuple[str, ...]) -> None:
    """They are counted, exit 1; the output never claims that there are no orders."""
    order = int(renter("deploy", renter.server(), "--image", "i", "--type", "on-demand",
                       "--currency", "USD").out)  # fmt: skip
    renter.fault("my_orders", "missing_fields", fields=["id"], times=None)
    done = renter(*words, fails=1)
    assert "1 of 1 orders that the service lists could not be read" in done.err
    assert "No " not in done.err
    renter.market.clear_faults()
    renter("cancel", order)


def test_spot_auto_survives_an_empty_list(renter: Renter) -> None:
    """The list is empty once at the start, and once while it bids."""
    import httpx

    url, key = f"{renter.market.base_url}/spot_marketplace", {"auth": renter.key}
    while True:
        server = renter.server()
        market = httpx.get(url, params={"market": server}, headers=key).json()["market"]
        least = market["server"]["min_pricing"].get("USD-Blockchain", 0)
        if least > 0.5:
            break
    order = int(renter("deploy", server, *SPOT, "--spot-price", f"{least:.8f}").out)
    none_listed(renter)
    words = ("--every", 1, "--yes", "--json", "--max", f"{least + 1}/day")
    with renter.start("spot", "auto", order, *words) as process:
        assert events(process, "runs")["order_id"] == order
        renter("cancel", order)
        assert events(process, "report")["ended"] == "ended"
        process.communicate(timeout=30)
    assert process.returncode == 0
