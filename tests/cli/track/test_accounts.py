"""Another key of the same account; what stands under other keys; records that are closed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.cli.driver import DEPLOY, Renter
from waiting import until

from clore_sandbox import Sandbox

USD = (*DEPLOY, "USD-Blockchain")


def keyed(renter: Renter, key: str) -> Renter:
    """The same home, with another key."""
    return replace(renter, env={**renter.env, "CLORE_API_KEY": key}, key=key)


@pytest.fixture
def rotated(renter: Renter) -> tuple[Renter, int]:
    """A user whose order has a lease, whose budget is set, and whose key was rotated just now."""
    order = renter.rent("--lease", "6h")
    renter("budget", "set", "50/day")
    renter("run", "--order", order, "--no-upload", "--", "true")
    return keyed(renter, renter.market.rotate_key(renter.key)), order


def test_after_a_rotation_all_is_there(rotated: tuple[Renter, int]) -> None:
    """Budget, lease, jobs, the way in; the first command says why, in one line, once."""
    user, order = rotated
    first = user("budget")
    assert "50\tUSD\tday" in first.out
    assert first.err.count("This key opens the account that the key …") == 1
    assert f"(order {order} is listed under both)" in first.err
    (lease,) = user("lease", "--json").data
    assert lease["order_id"] == order
    assert lease["left_s"] > 5 * 3600
    (job,) = user("jobs", "--json").data
    assert job["order_id"] == order
    assert user("ssh", order, "--", "echo inside").out == "inside\n"
    assert "None: the ledger and your orders agree." in user("orphans", "--check").err
    ended = user("cancel", "--all", "--yes")
    assert f"Cancelled: order {order}." in ended.err
    assert "This key opens" not in ended.err


def test_reap_ends_what_the_old_key_leased(renter: Renter) -> None:
    """A lease that is over is over, whichever key looks."""
    order = renter.rent("--lease", "6h")
    renter("lease", "set", order, "0.01m")
    user = keyed(renter, renter.market.rotate_key(renter.key))
    until(lambda: user("reap", "--dry-run", "--json").data, "the end of the lease")
    (event,) = user("reap", "--json").data
    assert (event["event"], event["order_id"]) == ("cancelled", order)


def test_two_first_commands_at_once(rotated: tuple[Renter, int]) -> None:
    """Both know the account; one of them says so."""
    user, order = rotated
    running = [user.start("lease", "--json") for _ in range(2)]
    ends = [process.communicate(timeout=60) for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert all(f'"order_id": {order}' in out for out, _ in ends), ends
    assert "".join(err for _, err in ends).count("This key opens the account") == 1


def test_a_budget_alone_is_found_by_the_wallet(renter: Renter) -> None:
    """Nothing was rented; the deposit addresses of the wallets are the same."""
    renter("budget", "set", "50/day")
    done = keyed(renter, renter.market.rotate_key(renter.key))("budget")
    assert "50\tUSD\tday" in done.out
    assert "its deposit address is the same" in done.err


def test_what_stands_under_another_key_is_named(renter: Renter) -> None:
    """Of another account nothing counts, and "none" is not all that is said, without its key."""
    order = renter.rent("--lease", "6h")
    renter("budget", "set", "50/day")
    other = keyed(renter, renter.market.create_account({"USD-Blockchain": 10}))
    other.secrets = [renter.key]
    named = (
        f"Under another key (…{renter.key[-4:]}): 1 order that may still run and a budget of "
        "50 USD a day. To see them: clore orphans"
    )
    none = {
        "budget": "No budget.",
        "ledger": "Nothing was rented yet.",
        "reap": "No order is past a limit.",
        "orders": "No active orders",
        "lease": "No active orders.",
        "jobs": "No jobs yet.",
    }
    for command, says in none.items():
        done = other(command)
        assert says in done.err
        assert named in done.err, command
    shown = other("orphans", "--check")
    assert "None: the ledger and your orders agree." in shown.err
    assert f"{order}\t" in shown.out
    assert "there is a budget of 50 USD a day; it does not apply to this key" in shown.err
    assert other("budget", "--json").data == []
    renter("cancel", order)
    assert "may still run" not in other("reap").err


def test_a_ghost_is_closed(renter: Renter) -> None:
    """Of a marketplace that is gone; asked for, never cancelling; of an order that runs never."""
    with Sandbox(limits=False, visibility_lag_s=0.1, boot_s=0.1, provision=False) as gone:
        key = gone.create_account({"USD-Blockchain": 50})
        env = {**renter.env, "CLORE_BASE_URL": gone.base_url, "CLORE_API_KEY": key}
        server = next(s["id"] for s in _free(gone))
        there = replace(renter, env=env, key=key, market=gone)
        order = int(there("deploy", server, *USD).out)
    # another marketplace's is no news here
    assert renter("reap").err == "No order is past a limit.\n"
    (ghost,) = renter("orphans", "--json").data
    assert ghost["order_id"] == order
    assert env["CLORE_BASE_URL"] in ghost["problem"]
    record = ghost["record"]
    asked = renter("orphans", "--close", record, fails=2)
    assert "there is no terminal. Add --yes." in asked.err
    assert f"Record {record} is of order {order}" in asked.err
    assert f"Closed: record {record}" in renter("orphans", "--close", record, "--yes").err
    assert renter("orphans", "--json").data == []
    assert "no open record" in renter("orphans", "--close", record, "--yes", fails=4).err

    mine = renter.rent()
    renter("orphans", "--close", 0, "--yes", fails=2)
    number = record + 1
    refused = renter("orphans", "--close", number, "--yes", fails=2)
    assert f"Order {mine} runs and is billed" in refused.err
    assert [o["id"] for o in renter("orders", "--json").data] == [mine]
    renter("cancel", mine)


def _free(market: Sandbox) -> list[dict[str, object]]:
    import httpx

    rows = httpx.get(f"{market.base_url}/marketplace").json()["servers"]
    return [
        r
        for r in rows
        if not r["rented"]
        and not r.get("gigaspot")
        and "USD-Blockchain" in r["allowed_coins"]
        and 0 < r["price"]["on_demand"].get("USD-Blockchain", 0) < 50
    ]


def test_an_order_of_a_closed_record_is_shown_again(renter: Renter) -> None:
    """Closed by mistake under another key, it is one that the ledger does not know."""
    order = renter.rent("--lease", "6h")
    other = keyed(renter, renter.market.create_account({}))
    (row,) = other("orphans", "--json").data
    other("orphans", "--close", row["record"], "--yes")
    found, *_ = renter("orphans", "--json").data
    assert (found["order_id"], found["problem"]) == (order, "not in the ledger")
    renter("cancel", order)
