"""Rotated keys of an account, records under other keys, and closed records."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.cli.driver import DEPLOY, Renter
from waiting import until

from clore_sandbox import Sandbox

USD = (*DEPLOY, "USD-Blockchain")


def with_key(renter: Renter, key: str) -> Renter:
    """The same home with another key."""
    return replace(renter, env={**renter.env, "CLORE_API_KEY": key}, key=key)


@pytest.fixture
def rotated(renter: Renter) -> tuple[Renter, int]:
    """A user with a lease and a budget whose key has just been rotated."""
    order = renter.rent("--lease", "6h", "--no-keeper")
    renter("budget", "set", "50/day")
    renter("run", "--order", order, "--no-upload", "--", "true")
    return with_key(renter, renter.market.rotate_key(renter.key)), order


def test_everything_is_kept_after_a_key_rotation(rotated: tuple[Renter, int]) -> None:
    """Budget, lease, jobs and login are there; the first command says why in one line, once."""
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


def test_reap_ends_leases_of_a_rotated_key(renter: Renter) -> None:
    """An expired lease is ended, whichever key of the account looks."""
    order = renter.rent("--lease", "6h", "--no-keeper")
    renter("lease", "set", order, "0.01m")
    user = with_key(renter, renter.market.rotate_key(renter.key))
    until(lambda: user("reap", "--dry-run", "--json").data, "the end of the lease")
    (event,) = user("reap", "--json").data
    assert (event["event"], event["order_id"]) == ("cancelled", order)


def test_two_first_commands_after_a_rotation(rotated: tuple[Renter, int]) -> None:
    """Both recognise the account; one of them reports it."""
    user, order = rotated
    running = [user.start("lease", "--json") for _ in range(2)]
    ends = [process.communicate(timeout=60) for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert all(f'"order_id": {order}' in out for out, _ in ends), ends
    assert "".join(err for _, err in ends).count("This key opens the account") == 1


def test_an_account_with_only_a_budget_is_found_by_its_wallets(renter: Renter) -> None:
    """With no order, the account is recognised by its deposit addresses."""
    renter("budget", "set", "50/day")
    done = with_key(renter, renter.market.rotate_key(renter.key))("budget")
    assert "50\tUSD\tday" in done.out
    assert "its deposit address is the same" in done.err


def test_records_of_another_key_are_mentioned(renter: Renter) -> None:
    """They do not count, but "none" comes with a note on the other account, without its key."""
    order = renter.rent("--lease", "6h", "--no-keeper")
    renter("budget", "set", "50/day")
    other = with_key(renter, renter.market.create_account({"USD-Blockchain": 10}))
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


def test_a_record_of_a_vanished_marketplace_can_be_closed(renter: Renter) -> None:
    """Closing needs consent and cancels nothing; a running order's record is never closed."""
    with Sandbox(limits=False, visibility_lag_s=0.1, boot_s=0.1, provision=False) as gone:
        key = gone.create_account({"USD-Blockchain": 50})
        env = {**renter.env, "CLORE_BASE_URL": gone.base_url, "CLORE_API_KEY": key}
        server = next(s["id"] for s in _free(gone))
        there = replace(renter, env=env, key=key, market=gone)
        order = int(there("deploy", server, *USD).out)
    # Another marketplace's record is not reported here.
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
    """If closed by mistake under another key, the order is shown as unknown to the ledger."""
    order = renter.rent("--lease", "6h", "--no-keeper")
    other = with_key(renter, renter.market.create_account({}))
    (row,) = other("orphans", "--json").data
    other("orphans", "--close", row["record"], "--yes")
    found, *_ = renter("orphans", "--json").data
    assert (found["order_id"], found["problem"]) == (order, "not in the ledger")
    renter("cancel", order)
