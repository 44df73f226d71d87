"""`clore budget`, and `clore deploy` over it: refused with the sum, exit 7, no request sent."""

from __future__ import annotations

import pytest
from tests.cli.driver import DEPLOY, Clore, Renter
from waiting import until

USD = (*DEPLOY, "USD-Blockchain")


def price(renter: Renter, server: int) -> float:
    """The price in USD a day, with the fee."""
    return renter("deploy", server, *USD, "--dry-run", "--json").data["total_usd_per_day"]


def test_set_show_unset(renter: Renter) -> None:
    """Each budget is shown with what is spent, committed and left; without one, none is shown."""
    assert "No budget." in renter("budget").err
    assert renter("budget", "--json").data == []
    assert "20\tUSD\tday\t0\t0\t20" in renter("budget", "set", "$20/day").out
    renter("budget", "set", "100/MONTH")
    renter("budget", "set", "2500.5/day", "--currency", "clore")
    renter("budget", "set", "25/day", "--currency", "usd")
    rows = renter("budget", "--json").data
    assert [(r["unit"], r["per"], r["amount"]) for r in rows] == [
        ("CLORE-Blockchain", "day", 2500.5),
        ("USD", "day", 25.0),
        ("USD", "month", 100.0),
    ]
    assert all(r["left"] == r["amount"] for r in rows)
    assert "25 USD a day" in renter("budget", "unset", "day", "--currency", "USD").err
    assert len(renter("budget", "unset", "--json").data) == 2
    assert "budgets: none" in renter("budget", "unset", fails=4).err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("20",), 2, "write 20/day or 100/month"),
        (("-1/day",), 2, ""),
        (("nan/day",), 2, "write 20/day"),
        (("1e9/day",), 2, "write 20/day"),
        (("20/week",), 2, "write 20/day"),
        (("20/day", "--currency", "doge"), 2, "There is no coin 'doge'"),
    ],
)
def test_invalid_budgets(renter: Renter, words: tuple[str, ...], code: int, says: str) -> None:
    """Each error is one sentence, and no budget is set."""
    assert says in renter("budget", "set", *words, fails=code).err
    assert renter("budget", "--json").data == []


def test_a_budget_needs_a_key(new_user: Clore) -> None:
    """A budget belongs to a key's account."""
    assert "API key" in new_user("budget", "set", "20/day", fails=3).err


def test_a_deploy_over_the_budget_is_refused(renter: Renter) -> None:
    """The request is not sent, and the error has the sum; once it is free, the order fits."""
    first, second = renter.server(), renter.server()
    cost = price(renter, first)
    # Not even one minute of a second order fits.
    renter("budget", "set", f"{cost / 4 + 0.1 + cost / 2880:.6f}/month")
    renter("deploy", first, *USD, "--lease", "6h", "--no-keeper")
    (row,) = renter("budget", "--json").data
    assert row["committed"] == pytest.approx(cost / 4 + 0.1, rel=0.02)  # The fee is due later.
    assert row["spent"] == pytest.approx(0, abs=cost / 1000)
    for words in ((), ("--dry-run",)):
        refused = renter("deploy", second, *USD, *words, "--json", fails=7)
        assert refused.error["code"] == "budget"
        assert refused.error["committed"] == pytest.approx(cost / 4 + 0.1, rel=0.02)
        assert "for this order" in refused.error["message"]
    assert len(renter.orders()) == 1
    assert "Nothing more fits" in renter("deploy", second, *USD, "--lease", "1h", fails=7).err
    renter("cancel", renter.orders()[0])
    (row,) = renter("budget", "--json").data
    assert row["committed"] == 0
    renter("budget", "unset")
    renter("deploy", second, *USD, "--lease", "1h", "--no-keeper")


def test_two_commands_at_once_never_exceed_the_budget(renter: Renter) -> None:
    """Both start before anything is rented; only one of them rents."""
    servers = [renter.server(), renter.server()]
    cost = max(price(renter, s) for s in servers)
    renter("budget", "set", f"{cost / 4 + 0.15:.2f}/month")
    running = [renter.start("deploy", s, *USD, "--lease", "6h", "--no-keeper") for s in servers]
    ends = [(p.communicate(timeout=60)[1], p.returncode) for p in running]
    assert sorted(code for _, code in ends) == [0, 7], ends
    until(lambda: len(renter.orders()) == 1, "one order")


def test_an_order_in_another_coin_is_refused(renter: Renter) -> None:
    """A budget in one coin cannot be checked for another."""
    renter("budget", "set", "1000/day", "--currency", "CLORE")
    said = renter("deploy", renter.server(), *USD, fails=7).err
    assert "in CLORE-Blockchain alone" in said
    assert renter.orders() == []
