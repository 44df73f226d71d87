"""`clore ledger` and `clore orphans`: what was rented, its cost, and orders without a record."""

from __future__ import annotations

import csv
import io
import re
import time
from typing import Any, Callable

import httpx
import pytest
from tests.cli.driver import DEPLOY, Renter, Terminal, shared_forks
from waiting import until

USD = (*DEPLOY, "USD-Blockchain")


def elsewhere(renter: Renter) -> int:
    """An order made with the same key by a program without a ledger."""
    wish: dict[str, Any] = {
        "renting_server": renter.server(), "image": "i", "type": "on-demand",
        "currency": "USD-Blockchain", "ports": {"22": "tcp"}, "ssh_password": "abc",
    }  # fmt: skip
    head = {"auth": renter.key}
    answer = httpx.post(f"{renter.market.base_url}/create_order", headers=head, json=wish)
    assert answer.json() == {"code": 0}

    def found() -> list[int]:
        rows = renter("orphans", "--json").data
        return [row["order_id"] for row in rows if row["server_id"] == wish["renting_server"]]

    return int(until(found, "the order")[0])


def test_the_ledger_shows_what_was_rented_and_its_cost(renter: Renter) -> None:
    """The wallet lost exactly what the ledger shows, to the last tick."""
    first = renter.rent("--purpose", "training", "--ref", "a")
    renter("cancel", first)
    server = renter.server()
    second = int(renter("deploy", server, *DEPLOY, "bitcoin", "--purpose", "inference").out)
    renter("cancel", second)
    said = renter("ledger", "--json").data
    rows = {row["order_id"]: row for row in said["orders"]}
    assert (rows[first]["purpose"], rows[first]["ref"]) == ("training", "a")
    assert (rows[second]["server_id"], rows[second]["currency"]) == (server, "bitcoin")
    assert [row["state"] for row in said["orders"]] == ["ended", "ended"]
    left = renter.market.wallet(renter.key)
    assert rows[first]["total"] == pytest.approx(1000 - float(left["USD-Blockchain"]), abs=1e-6)
    assert rows[first]["usd"] == rows[first]["total"]
    assert rows[second]["total"] == pytest.approx(1 - float(left["bitcoin"]), abs=1e-9)
    assert rows[second]["usd"] > rows[second]["total"]  # a bitcoin is worth more than a dollar
    wallets = {w["currency"]: w for w in said["wallets"]}
    assert wallets["USD-Blockchain"]["fell"] == pytest.approx(rows[first]["total"], abs=1e-6)
    assert {w["unexplained"] for w in said["wallets"]} == {None}

    # The same in a pipe and as CSV; the totals for people go to stderr.
    table = renter("ledger")
    assert [line.split("\t")[0] for line in table.out.splitlines()] == [
        "ID",
        str(first),
        str(second),
    ]
    assert "Total: 2 orders" in table.err
    assert "Wallet USD: fell by" in table.err
    read = list(csv.DictReader(io.StringIO(renter("ledger", "--csv").out)))
    assert [row["order_id"] for row in read] == [str(first), str(second)]
    assert float(read[0]["total"]) == pytest.approx(rows[first]["total"])
    assert set(read[0]) == set(rows[first])


def test_sums_by_day_gpu_purpose_and_server(renter: Renter) -> None:
    """Each has one line for each coin; the lines add up to the total."""
    for purpose in ("training", "training", "=1+1"):
        renter("cancel", int(renter("deploy", renter.server(), *USD, "--purpose", purpose).out))
    total = renter("ledger", "--json").data["total"][0]["total"]
    for by, lines in (("day", None), ("gpu", None), ("purpose", 2), ("server", 3)):
        said = renter("ledger", "--offline", "--by", by, "--json").data
        assert said["by"] == by
        assert lines in (None, len(said["sums"]))
        assert sum(row["total"] for row in said["sums"]) == pytest.approx(total)
        header, *rows = renter("ledger", "--offline", "--by", by, "--csv").out.splitlines()
        assert header.startswith("key,orders,seconds,spend")
        assert len(rows) == len(said["sums"])
    purposes = {row["key"]: row["orders"] for row in said_by(renter, "purpose")}
    assert purposes == {"training": 2, "=1+1": 1}
    days = said_by(renter, "day")
    assert days[-1]["key"] == time.strftime("%Y-%m-%d") or len(days) == 2


def said_by(renter: Renter, by: str) -> list[dict[str, Any]]:
    sums: list[dict[str, Any]] = renter("ledger", "--offline", "--by", by, "--json").data["sums"]
    return sums


def test_periods(renter: Renter) -> None:
    """A period is a date or a length; an empty one gets a message, and a bad date is exit 2."""
    renter("cancel", int(renter("deploy", renter.server(), *USD).out))
    today = time.strftime("%Y-%m-%d")
    for words in (("--since", "7d"), ("--since", "30m"), ("--since", "3600"), ("--since", "1w"),
                  ("--since", "2020-01-01", "--until", "2999-01-01")):  # fmt: skip
        assert len(renter("ledger", "--offline", *words, "--json").data["orders"]) == 1
    assert time.strftime("%Y-%m-%d") != today or (
        renter("ledger", "--offline", "--since", today, "--until", today).out
    )
    for words in (("--until", "1w"), ("--since", "2999-01-01")):
        nothing = renter("ledger", "--offline", *words)
        assert (nothing.out, nothing.err) == ("", "Nothing was rented in this time.\n")
        assert renter("ledger", "--offline", *words, "--csv").out.count("\n") == 1
    for option in ("--since", "--until"):
        error = renter("ledger", option, "monday", fails=2).err
        assert f"Invalid value for '{option}': 'monday' is not a date" in error
    assert "the period is empty" in renter("ledger", "--since", "1d", "--until", "2d", fails=2).err
    assert "only one of" in renter("ledger", "--csv", "--json", fails=2).err


def test_the_ledger_without_the_service(renter: Renter) -> None:
    """The last known state is shown and marked; --offline sends no request; no key is exit 3."""
    order = int(renter("deploy", renter.server(), *USD).out)
    sent = len(renter.market.journal())
    assert renter("ledger", "--offline", "--json").data["orders"][0]["state"] == "running"
    mine = [e for e in renter.market.journal()[sent:] if e.key and renter.key.endswith(e.key[-4:])]
    assert mine == []
    renter.fault("my_orders", "html_502", times=None)
    said = renter("ledger", "--json")
    assert said.data["orders"][0]["order_id"] == order
    assert said.err.startswith("Shown as last seen")
    assert "clore config set api_key" in renter.with_(CLORE_API_KEY="")("ledger", fails=3).err
    assert f"{order}" in renter("cancel", order, "--wait-timeout", 1, fails=8).err


def test_a_wallet_that_lost_more_than_the_orders_cost(renter: Renter) -> None:
    """A cost that the ledger does not explain is reported, with where to look."""
    renter("wallets")
    order = elsewhere(renter)

    def once_charged() -> str:
        said: str = renter("ledger").err
        assert "Nothing was rented yet." in said
        return said if "Wallet" in said else ""

    said = until(once_charged, "the first charge")
    assert "the orders explain 0, " in said
    assert "clore orphans" in said
    renter("orphans", "--adopt", order)
    said = renter("ledger").err
    assert "less" not in said
    assert f"{order}" in renter("ledger", "--offline").out
    renter("cancel", order)


def test_orphans_are_listed_until_adopted(renter: Renter) -> None:
    """An order rented elsewhere is listed until it is adopted; until then --check is exit 1."""
    known = renter.rent("--lease", "6h", "--no-keeper")
    none = renter("orphans", "--check")
    assert (none.out, none.err) == ("", "None: the ledger and your orders agree.\n")
    assert renter("orphans", "--json").data == []
    strays = [elsewhere(renter), elsewhere(renter)]
    listed = renter("orphans")
    assert [line.split("\t")[0] for line in listed.out.splitlines()[1:]] == [*map(str, strays)]
    assert "clore orphans --adopt ID" in listed.err
    assert renter("orphans", "--check", fails=1).out.count("\n") == 3
    problems = {row["problem"] for row in renter("orphans", "--check", "--json", fails=1).data}
    assert problems == {"not in the ledger"}

    assert f"order {strays[0]}" in renter("orphans", "--adopt", strays[0]).err
    assert "it goes on" in renter("orphans", "--adopt", strays[0]).err
    assert "order" in renter("orphans", "--adopt", "all", "--check").err
    assert "no order 1 that runs" in renter("orphans", "--adopt", 1, fails=4).err
    assert "an order's id, or all" in renter("orphans", "--adopt", "x", fails=2).err
    rows = renter("ledger", "--json").data["orders"]
    assert sorted(row["order_id"] for row in rows) == sorted([known, *strays])
    for order in (known, *strays):
        renter("cancel", order)


def test_an_order_that_the_service_lost(renter: Renter) -> None:
    """An order that only the ledger has as running is reported, and then recorded as gone."""
    from clore_ai._state.ledger import Ledger, account_of
    from clore_ai._state.store import Store
    from clore_ai.models.records import Intent

    ledger = Ledger(Store(renter.home), account_of(renter.market.base_url, renter.key))
    now = time.time()
    gone = Intent(7, "on-demand", "bitcoin", "i", posted_at=now - 900, opened_at=now - 900)
    ledger.open(gone)
    ledger.claim(gone, 7777, {"started_at": now - 900, "seen_at": now - 600})
    for _ in range(2):  # An empty list proves nothing about the order.
        (row,) = renter("orphans", "--check", "--json", fails=1).data
        assert (row["order_id"], row["problem"]) == (7777, "not listed by the service")
        assert ledger.reread(gone).ended_at is None
        renter.market.jump(25)
    other = renter.rent()
    renter("orphans")
    renter.market.jump(25)
    assert "no longer lists it" in renter("orphans", "--check", fails=1).err
    assert ledger.reread(gone).reason == "no longer listed"
    assert renter("orphans", "--check").out == ""
    renter("cancel", other)


@pytest.mark.parametrize("width", [80, pytest.param(130, marks=pytest.mark.exhaustive)])
def test_ledger_tables_fit_the_terminal(
    renter: Renter, terminal: Callable[..., Terminal], width: int
) -> None:
    """Each order is one line with its cost; columns that do not fit are named."""
    order = renter.rent("--purpose", "a purpose of some words")
    renter("cancel", order)
    screen = terminal(renter, width)
    text = screen.run("clore ledger").splitlines()
    assert {"ID", "GPU", "Time", "Total", "Coin", "USD", "State"} <= set(text[0].split())
    assert text[1].split()[0] == str(order)
    assert text[2].startswith("Left out for lack of space")
    text = screen.run("clore ledger --by purpose").splitlines()
    assert text[1].startswith("a purpose of some words")
    assert any(line.startswith("Total: 1 order,") for line in text[2:4])


def test_each_printed_time_has_its_zone(renter: Renter) -> None:
    """Times are in the user's zone or UTC, and labelled: elsewhere a bare time is misread."""
    there: dict[str, Any] = {"TZ": "Asia/Kolkata", "process": shared_forks()}  # they read TZ
    renter("deploy", renter.server(), *USD, "--ref", "mine", "--lease", "6h", "--no-keeper")
    assert re.search(r"\d\d-\d\d \d\d:\d\d IST", renter("ledger", **there).out)
    renter("ledger", "--by", "day", **there)
    lines = renter("watch", "--gpu", "RTX", "--once", **there).out.splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d IST  ", line) for line in lines if line)
    assert re.search(r"\d\d:\d\d UTC", renter("lease", **there).out)
