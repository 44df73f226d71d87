"""Leases run on the service's clock: `clore lease`, `clore reap`, and warnings of every command."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Callable

import pytest
from tests.cli.conftest import environment
from tests.cli.driver import DEPLOY, Renter
from waiting import until

from clore_sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USD = (*DEPLOY, "USD-Blockchain")
H = 3600


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Renter]:
    """A renter in a marketplace of the test's own, whose clock may jump."""
    home = tmp_path / ".clore"
    with Sandbox(limits=False, provision=False, visibility_lag_s=0.1, boot_s=0.1) as market:
        env = environment(
            home,
            CLORE_BASE_URL=market.base_url,
            CLORE_API_KEY=market.api_key,
            CLORE_REQUESTS_PER_SECOND="1000",
        )
        yield Renter(home, env, market.api_key, market=market, take=_taker(market))


def _taker(market: Sandbox) -> Callable[[], int]:
    """Gives the cheapest free servers that take USD, one by one."""
    import httpx

    rows = httpx.get(f"{market.base_url}/marketplace").json()["servers"]
    free = sorted(
        (s["price"]["on_demand"]["USD-Blockchain"], s["id"])
        for s in rows
        if not s["rented"]
        and not s.get("gigaspot")
        and s["mrl"] >= 72
        and "USD-Blockchain" in s["allowed_coins"]
        and s["price"]["on_demand"].get("USD-Blockchain")
    )
    ids = iter([server for _, server in free])
    return lambda: next(ids)


def rent(user: Renter, *words: str) -> int:
    return int(user("deploy", user.server(), *USD, "--no-keeper", *words).out)


def test_the_plan_shows_the_end(alone: Renter) -> None:
    """There is no end without a lease; what shortens it is named; contradictions are refused."""
    server = alone.server()

    def plan(*words: str, fails: int = 0) -> str:
        return alone("deploy", server, *USD, "--dry-run", *words, fails=fails).err

    assert "ends      does not end by itself" in plan()
    assert "its host ends it after" in plan()
    assert "(90m), at most $" in plan("--lease", "90m")
    assert "(2h by --max-hours)" in plan("--max-hours", "2")
    assert "by --max-cost), at most $0.15" in plan("--max-cost", "0.15")
    assert "ends      does not end by itself" in plan("--lease", "none")
    assert "when --max-cost is reached" in plan("--lease", "none", "--max-cost", "2")
    assert "longest rental" in plan("--lease", "9999h")
    row = alone("deploy", server, *USD, "--dry-run", "--lease", "6h", "--json").data
    assert row["lease_hours"] == 6
    assert row["at_most_usd"] == pytest.approx(0.1 + row["total_usd_per_hour"] * 6)
    assert "--max-hours 2" in plan("--lease", "6h", "--max-hours", "2", fails=2)
    assert "It fits with --lease" in plan("--lease", "2d", "--max-cost", "0.15", fails=7)
    for words in (("--lease", "soon"), ("--max-cost", "nan"), ("--max-hours", "-1")):
        plan(*words, fails=2)
    assert alone.orders() == []


def test_a_lease_from_rental_to_reap(alone: Renter) -> None:
    """Listed, extended, warned of near its end, cancelled past it: by the marketplace's clock."""
    first, second = rent(alone, "--lease", "2h"), rent(alone, "--lease", "none")
    rows = {r["order_id"]: r for r in alone("lease", "--json").data}
    assert rows[first]["left_s"] == pytest.approx(2 * H, abs=30)
    assert rows[second]["ends_at"] is None
    assert alone("reap").err.startswith("No order is past a limit.")
    assert "ends at" in alone("lease", "extend", first, "6h").err
    assert "no lease to extend" in alone("lease", "extend", second, "6h", fails=2).err

    alone.market.advance(7.6 * H)
    said = alone("orders").err
    assert f"The lease ends soon: order {first} in 2" in said
    assert "This machine's clock is 7h 3" in said
    alone.market.advance(0.5 * H)
    assert f"Past the lease, and billed: order {first} (" in alone("orders").err
    (due,) = alone("reap", "--dry-run", "--json").data
    assert (due["event"], due["order_id"], due["reason"]) == ("over", first, "lease")
    done = alone("reap", "--json")
    (event,) = done.data
    assert (event["event"], event["order_id"]) == ("cancelled", first)
    assert event["total"] > event["spend"] > 0
    assert "Past the lease" not in done.err
    assert [o["id"] for o in alone("orders", "--json").data] == [second]


def test_a_fast_local_clock_cancels_nothing_early(alone: Renter) -> None:
    """The local clock is a day ahead of the marketplace: only the marketplace's time counts."""
    alone.market.advance(24 * H)
    order = rent(alone, "--lease", "2h")
    alone("reap")
    assert [o["id"] for o in alone("orders", "--json").data] == [order]
    (row,) = alone("lease", "--json").data
    assert row["left_s"] == pytest.approx(2 * H, abs=30)


def test_reap_enforces_the_cost_limit(alone: Renter) -> None:
    """The service's bill counts, with its fees, though the lease has no end."""
    order = rent(alone, "--lease", "none", "--max-cost", "0.11")
    assert alone("reap", "--json").data == []
    alone.market.advance(48 * H)
    (event,) = alone("reap", "--json").data
    assert (event["event"], event["order_id"], event["reason"]) == ("cancelled", order, "max_cost")
    assert event["cost_usd"] >= 0.11


def test_the_loop_of_reap(alone: Renter) -> None:
    """Each event is one line; faults pass; SIGTERM ends it with 0."""
    order = rent(alone, "--lease", "1h")
    loop = alone.start("reap", "--every", "1", "--json")
    assert loop.stdout is not None
    until(lambda: len(alone.requests("my_orders")) > 3, "a look")
    alone.fault("my_orders", "500", times=12)
    trouble = json.loads(loop.stdout.readline())
    assert trouble["event"] == "trouble"
    alone.market.clear_faults()
    alone.market.advance(1.1 * H)
    event = json.loads(loop.stdout.readline())
    assert (event["event"], event["order_id"]) == ("cancelled", order)
    loop.send_signal(signal.SIGTERM)
    out, err = loop.communicate(timeout=20)
    assert (loop.returncode, out) == (0, ""), err
    assert "Stopped." in err
    alone.check(err)


def test_wrong_usage(alone: Renter) -> None:
    """Each error is one sentence with the right exit code."""
    assert "write 90m, 6h, 2d" in alone("lease", "set", 7, "soon", fails=2).err
    assert "clore lease set 7 none" in alone("lease", "extend", 7, "none", fails=2).err
    assert "You have no order 7" in alone("lease", "set", 7, "6h", fails=4).err
    assert "No active orders." in alone("lease").err
    alone("reap", "--every", "0", fails=2)


def test_a_wallet_that_runs_dry_is_warned_of(alone: Renter) -> None:
    """Every command warns of it, without an extra request."""
    coins = {"USD-Blockchain": 0.2}
    poor = Renter(
        alone.home,
        {**alone.env, "CLORE_API_KEY": alone.market.create_account(coins)},
        market=alone.market,
        take=alone.take,
    )
    rent(poor, "--lease", "72h")
    assert "USD-Blockchain in about " in poor("wallets").err
