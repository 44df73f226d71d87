"""Commands that follow an order enforce its limits: outputs fetched, cancelled, exit 7."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Callable

import pytest
from tests.cli.driver import DEPLOY, FLEET, followers, keepers
from waiting import until

from clore_ai._state.ledger import Ledger, account_of
from clore_ai._state.store import Store
from clore_ai.models.price import Rates
from clore_ai.rental.limits.expiry import cost_usd
from clore_sandbox import Sandbox

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.cli.driver import Renter

USD = (*DEPLOY, "USD-Blockchain")
WISH = ("--gpu", "RTX", "--max-price", "5/h", "--currency", "USD", "--yes")
SCRIPT = "mkdir -p o; echo 1 > o/x; echo begun; sleep 300"
H = 3600


@pytest.fixture
def market() -> Iterator[Sandbox]:
    """A marketplace of one test's own, whose clock is set."""
    with Sandbox(inventory=FLEET, limits=False, visibility_lag_s=0.1, boot_s=0.1) as sandbox:
        yield sandbox


@pytest.fixture
def take(market: Sandbox) -> Callable[[], int]:
    """Free servers that take USD."""
    import httpx

    rows = httpx.get(f"{market.base_url}/marketplace").json()["servers"]
    ids = iter([
        s["id"] for s in rows
        if not s["rented"] and not s.get("gigaspot") and s["mrl"] >= 72
        and "USD-Blockchain" in s["allowed_coins"]
        and 0 < s["price"]["on_demand"].get("USD-Blockchain", 0) < 50
    ])  # fmt: skip
    return lambda: next(ids)


def running(renter: Renter) -> list[int]:
    return [row["id"] for row in renter("orders", "--json").data]


def wait_for_output(renter: Renter, folder: Path) -> None:
    """Wait until the job has written its output and part of it is here."""
    until(renter.orders, "an order", 60)
    until((folder / "o" / "x").exists, "a fetch", 60)


def ends(process: subprocess.Popen[str], code: int) -> str:
    """The stderr of a command that ends by itself with this code."""
    _, err = process.communicate(timeout=90)
    assert process.returncode == code, err
    return err


RUN = ("--output", "o", "--fetch-every", "0.3", "--", SCRIPT)


def test_run_ends_at_its_lease(renter: Renter, market: Sandbox, folder: Path) -> None:
    """It warns once near the end; at the end outputs are fetched and the machine is cancelled."""
    job = renter.start("run", *WISH, "--lease", "6h", "--folder", folder, *RUN)
    wait_for_output(renter, folder)
    market.advance(5.7 * H)
    assert job.stderr is not None
    said = ""
    while "clore lease extend" not in said:
        said = job.stderr.readline()
        assert said, "no warning of the end of the lease"
    assert running(renter) == renter.orders()
    market.advance(0.4 * H)
    err = ends(job, 7)
    assert "clore lease extend" not in err
    (order,) = renter.orders()
    assert f"Cancelled: order {order}." in err
    assert f"Error: The lease of order {order} end" in err.splitlines()[-1]
    assert (folder / "o" / "x").read_text() == "1\n"
    assert running(renter) == []
    (row,) = renter("jobs", "--json").data
    assert (row["state"], row["fetched"], row["cancelled"]) == ("stopped", True, True)


def test_a_lease_extended_elsewhere_counts(renter: Renter, market: Sandbox, folder: Path) -> None:
    """The ledger is read again: the job outlives its first lease, and ends with the second."""
    words = ("--lease", "6h", "--json", "--folder", folder)
    job = renter.start("run", *WISH, *words, *RUN)
    wait_for_output(renter, folder)
    (order,) = renter.orders()
    renter("lease", "extend", order, "6h")
    market.advance(7 * H)
    looks = len(renter.requests("my_orders"))
    until(lambda: len(renter.requests("my_orders")) > looks, "a look", 60)
    assert job.poll() is None
    renter("lease", "set", order, "90s")
    market.advance(H)
    error = ends(job, 7).splitlines()[-1]
    assert '"code": "limit"' in error
    assert f'"order_id": {order}' in error
    assert running(renter) == []


def test_no_order_costs_more_than_agreed(renter: Renter, market: Sandbox, folder: Path) -> None:
    """The last fetch and the cancel fit into the money that is left, however fast it runs out."""
    job = renter.start("run", *WISH, "--max-cost", "0.2", "--folder", folder, *RUN)
    wait_for_output(renter, folder)
    (order,) = renter.orders()
    market.speed(600)
    err = ends(job, 7)
    market.speed(1)
    assert "To allow more next time, raise --" in err.splitlines()[-1]
    assert running(renter) == []
    intent = Ledger(Store(renter.home), account_of(market.base_url, renter.key)).by_order(order)
    assert intent is not None
    assert 0.15 < (cost_usd(intent, Rates()) or 0) <= 0.22  # One second is 3 % of the cost.


def test_the_reached_limit_is_named(renter: Renter, market: Sandbox, folder: Path) -> None:
    """The message has the billed amount, though the lease has no end."""
    words = ("--lease", "none", "--max-cost", "0.3", "--folder", folder)
    job = renter.start("run", *WISH, *words, *RUN)
    wait_for_output(renter, folder)
    market.advance(60 * H)
    err = ends(job, 7)
    assert "ends      when --max-cost is reached, at most $0.30" in err
    assert " $0.30, so it was cancelled. To allow more next time, raise --max-cost." in err
    assert running(renter) == []


@pytest.mark.parametrize(
    "who", ["follower", pytest.param("attach", marks=pytest.mark.exhaustive), "reap"]
)
def test_a_detached_job_ends_at_the_lease(
    renter: Renter, market: Sandbox, folder: Path, who: str
) -> None:
    """Its follower, `attach` or `reap` ends it; outputs are fetched."""
    order = renter.rent("--lease", "2h", "--no-keeper")
    words = ("--order", order, "--detach", "--folder", folder, "--fetch-every", "3000")
    renter("run", *words, "--output", "o", "--", SCRIPT)
    home = Path(renter("ssh", order, "--", "pwd").out.strip())
    until(lambda: list(home.glob("work/w/o/x")), "the output there")
    if who == "attach":
        attached = renter.start("attach", 1)
        until(lambda: not followers(renter), "the follower's exit")
        market.advance(3 * H)
        assert f"The lease of order {order} end" in ends(attached, 7).splitlines()[-1]
    elif who == "reap":
        (pid,) = followers(renter)
        os.kill(pid, signal.SIGKILL)
        until(lambda: not followers(renter), "the end of the follower")
        market.advance(3 * H)
        assert renter("reap", "--dry-run", "--json").data[0]["event"] == "over"
        renter("reap")
    else:
        market.advance(3 * H)
    until(lambda: running(renter) == [], "the end of the order", 60)
    until(lambda: not followers(renter), "the end of the follower", 60)
    assert (folder / "o" / "x").read_text() == "1\n"
    (row,) = renter("jobs", "--json").data
    assert (row["state"], row["cancelled"]) == ("stopped", True)
    (cost,) = renter("ledger", "--json").data["orders"]
    assert cost["reason"] == "lease over"


def test_monitor_ends_orders_past_their_limit(renter: Renter, market: Sandbox) -> None:
    """It ends the orders it was given to monitor; exit 7."""
    order, other = (renter.rent("--lease", "2h", "--no-keeper") for _ in range(2))
    watching = renter.start("monitor", order, "--every", "1", "--no-gpu")
    until(lambda: len(renter.requests("my_orders")) > 8, "a look")
    market.advance(3 * H)
    assert f"Cancelled: order {order}." in ends(watching, 7)
    assert running(renter) == [other]


def test_spot_auto_ends_orders_past_their_limit(renter: Renter, market: Sandbox) -> None:
    """It cancels the order and reports the cost and the reason; exit 7."""
    words = ("--gpu", "RTX", "--currency", "USD", "--spot", "--max-bid", "5/h", "--yes")
    holding = renter.start("rent", *words, "--lease", "2h")
    assert holding.stdout is not None
    order = int(holding.stdout.readline())
    until(lambda: renter.requests("spot_marketplace"), "a look")
    market.advance(1.85 * H)
    assert holding.stderr is not None
    while "clore lease extend" not in (said := holding.stderr.readline()):
        assert said, "no warning of the end of the lease"
    market.advance(0.2 * H)
    err = ends(holding, 7)
    assert f"Error: The lease of order {order} end" in err.splitlines()[-1]
    assert running(renter) == []
    assert keepers(renter) == []


# -- in the background -------------------------------------------------------------------------


def test_a_keeper_enforces_the_limit_in_the_background(renter: Renter, market: Sandbox) -> None:
    """One process for each key enforces the planned end, and exits with the last order."""
    done = renter("rent", *WISH)
    order = int(done.out)
    assert "ends      at " in done.err
    assert "(1d), at most $" in done.err
    assert "ended by  a background process on this machine. While the machine sleeps" in done.err
    (keeper,) = until(lambda: keepers(renter), "the keeper")
    assert os.getsid(keeper) == keeper
    assert renter.key.encode() not in Path(f"/proc/{keeper}/cmdline").read_bytes()
    second = renter.rent("--lease", "2h")
    assert keepers(renter) == [keeper]
    assert renter("reap", "--status", "--json").data["keeper"] is True
    market.advance(3 * H)
    until(lambda: running(renter) == [order], "the end of the second", 60)
    assert keepers(renter) == [keeper]
    market.advance(22 * H)
    until(lambda: running(renter) == [], "the end of the first", 60)
    until(lambda: keepers(renter) == [], "the end of the keeper")
    (log,) = renter.home.glob("keepers/*.log")
    said = log.read_text()
    assert f"Cancelled: order {second}." in said
    assert f"Cancelled: order {order}." in said
    renter.check(said)
    assert renter("reap", "--status", "--json").data["keeper"] is False


def test_a_killed_keeper_is_restarted(renter: Renter, market: Sandbox) -> None:
    """The next command that finds its orders restarts it; of six at once, one does."""
    order = renter.rent("--max-hours", "2")
    (keeper,) = until(lambda: keepers(renter), "the keeper")
    os.kill(keeper, signal.SIGKILL)
    until(lambda: not keepers(renter), "its end")
    for process in [renter.start("orders") for _ in range(6)]:
        process.communicate(timeout=60)
    (again,) = until(lambda: keepers(renter), "another")
    assert again != keeper
    renter("lease", "extend", order, "3h")
    market.advance(4 * H)
    looks = len(renter.requests("my_orders"))
    until(lambda: len(renter.requests("my_orders")) > looks + 1, "two looks", 60)
    assert running(renter) == [order]
    market.advance(2 * H)
    until(lambda: running(renter) == [], "its end", 60)
    until(lambda: not keepers(renter), "the end of the keeper")


def test_no_keeper_is_started_if_declined(renter: Renter) -> None:
    """None starts then or later; the plan says that nothing ends the order by itself."""
    done = renter("deploy", renter.server(), *USD, "--lease", "2h", "--no-keeper")
    assert "with --no-keeper nothing on this machine ends the order by itself" in done.err
    renter("orders")
    assert keepers(renter) == []


def test_a_deployed_order_ends_only_by_a_given_limit(renter: Renter, market: Sandbox) -> None:
    """Without a limit the order goes on, as plan and later commands say; a lease ends it."""
    done = renter("deploy", renter.server(), *USD)
    order = int(done.out)
    assert "ends      does not end by itself" in done.err
    reminder = f"Billed until you cancel: order {order}. Set an end: "
    assert reminder not in done.err
    assert renter("wallets").err.count(reminder) == 1
    assert keepers(renter) == []
    assert renter("lease", "--json").data[0]["ends_at"] is None
    market.advance(48 * H)
    assert renter("reap", "--json").data == []
    renter("lease", "set", order, "2h")
    until(lambda: keepers(renter), "the keeper")
    assert "Billed until you cancel" not in renter("wallets").err
    market.advance(3 * H)
    until(lambda: running(renter) == [], "its end", 60)


def test_run_keep_starts_a_keeper(renter: Renter, market: Sandbox, folder: Path) -> None:
    """After `run --keep` the background process takes over."""
    renter("run", *WISH, "--keep", "--lease", "2h", "--folder", folder, "--", "true")
    until(lambda: keepers(renter), "the keeper")
    market.advance(3 * H)
    until(lambda: running(renter) == [], "its end", 60)
