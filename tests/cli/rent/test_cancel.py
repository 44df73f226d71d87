"""`clore cancel` ends when the orders are gone, and reports it."""

from __future__ import annotations

import json
from typing import Callable

import pytest
from tests.cli.driver import DEPLOY, Renter, Terminal, interrupt
from waiting import until

USD = (*DEPLOY, "USD-Blockchain")


@pytest.fixture
def three(renter: Renter) -> list[int]:
    return [int(renter("deploy", renter.server(), *USD).out) for _ in range(3)]


def test_each_cancelled_order_shows_its_bill(renter: Renter, three: list[int]) -> None:
    """Each order is reported with its bill, or as unknown; the worst exit code counts."""
    first, second, third = three
    done = renter("cancel", first, 1, second, "--json", fails=4)
    assert [(r["order_id"], r["cancelled"]) for r in done.data] == [
        (first, True),
        (1, False),
        (second, True),
    ]
    assert all(r["total"] >= r["spend"] for r in done.data if r["cancelled"])
    assert done.error["message"] == "You have no order 1. See: clore orders"
    assert [o["id"] for o in renter("orders", "--json").data] == [third]
    said = renter("cancel", third, third).err
    assert said.count(f"Cancelled: order {third}.") == 1


def test_all_needs_yes_in_a_script(renter: Renter, three: list[int]) -> None:
    """A script without --yes sends no request; with --yes and no orders, it succeeds."""
    asked = len(renter.requests("my_orders"))
    for stdin in ("", "y\n"):
        refused = renter("cancel", "--all", stdin=stdin, fails=2)
        assert "This needs confirmation and there is no terminal. Add --yes." in refused.err
    assert renter.requests("cancel_order") == []
    assert len(renter.requests("my_orders")) == asked
    said = renter("cancel", "--all", "--yes").err
    assert [f"Cancelled: order {order}." in said for order in three] == [True] * 3
    assert renter("orders", "--json").data == []
    assert "No active orders." in renter("cancel", "--all", "--yes").err
    assert renter("cancel", "--all", "--yes", "--json").data == []


def elsewhere(renter: Renter) -> int:
    """An order of the same account that this ledger does not know."""
    away = renter.with_(CLORE_HOME=str(renter.home.with_name(".away")))
    return int(away("deploy", renter.server(), *USD).out)


def test_all_covers_only_orders_of_this_ledger(renter: Renter, three: list[int]) -> None:
    """Orders rented elsewhere are listed and kept; --others or their ids cancel them."""
    first, second = elsewhere(renter), elsewhere(renter)
    done = renter("cancel", "--all", "--yes")
    assert all(f"Cancelled: order {order}." in done.err for order in three)
    assert f"Orders {first}, {second} are not in this ledger and not cancelled" in done.err
    assert f"clore cancel {first} {second}" in done.err
    assert [o["id"] for o in renter("orders", "--json").data] == [first, second]
    none = renter("cancel", "--all", "--yes", "--json")
    assert none.data == []
    assert "No active orders of this ledger." in none.err
    renter("cancel", first)
    assert f"Order {second} is not in this ledger" in renter("cancel", "--all", "--yes").err
    ended = renter("cancel", "--all", "--others", "--yes", "--json").data
    assert [row["order_id"] for row in ended] == [second]
    third = elsewhere(renter)
    renter("orphans", "--adopt", third)
    assert f"Cancelled: order {third}." in renter("cancel", "--all", "--yes").err


def test_all_asks_on_a_terminal(
    renter: Renter, three: list[int], terminal: Callable[..., Terminal]
) -> None:
    """Orders of this ledger and the others are asked about apart; the default is No."""
    other = elsewhere(renter)
    mine = ", ".join(map(str, three))
    screen = terminal(renter, 150)
    screen.start("clore cancel --all")
    text = screen.wait(f"Cancel 3 orders of this ledger ({mine})? [y/N]:")
    assert f"Order {other} is not in this ledger" in text
    screen.keys("Enter")
    assert "Nothing was cancelled." in screen.wait("end=1")
    screen.start("clore cancel --all --others")
    screen.wait(f"({mine}) and 1 order that it does not know ({other})? [y/N]:")
    screen.type("y")
    screen.wait("end=0")
    assert renter("orders", "--json").data == []


def test_wrong_usage(renter: Renter) -> None:
    """It takes ids or --all; an issue that is too long is refused before any request."""
    for words in ((), ("7", "--all"), ("7", "--issue", "x" * 2049), ("seven",),
                  ("7", "--others")):  # fmt: skip
        renter("cancel", *words, fails=2)
    assert renter.requests("cancel_order") == []
    assert renter.requests("my_orders") == []


def test_the_issue_reaches_the_host(renter: Renter, three: list[int]) -> None:
    """The issue is sent with every order that is cancelled."""
    renter("cancel", *three, "--issue", "no GPU")
    sent = [e.body["issue"] for e in renter.requests("cancel_order") if e.body]
    assert sent == ["no GPU"] * 3


def test_an_order_still_running_at_the_deadline_is_exit_8(renter: Renter) -> None:
    """Exit 8 with the next step; the ledger still has the order."""
    order = int(renter("deploy", renter.server(), *USD).out)
    renter.fault("cancel_order", "500", times=None)
    late = renter("cancel", order, "--wait-timeout", "1", "--json", fails=8)
    renter.market.clear_faults()
    assert late.error["order_id"] == order
    assert f"try again with: clore cancel {order}" in late.error["message"]
    renter("cancel", order)


def test_ctrl_c_lists_the_orders_that_may_still_run(renter: Renter, three: list[int]) -> None:
    """Ctrl-C lists the ids of the orders not known to have ended, and exits with 130."""
    late = renter.fault("my_orders", "late", delay_s=30)
    process = renter.start("cancel", *three[:2], "--json")
    until(lambda: len(renter.requests("cancel_order")) == 2, "both cancels")
    until(lambda: renter.happened(late), "the look for what is left")
    interrupt(process)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    message = json.loads(err.splitlines()[-1])["message"]
    assert f"clore cancel {three[0]} {three[1]}" in message
    renter.market.clear_faults()
    renter("cancel", three[2])
