"""The amount spent is the service's, divided by time if a period covers part of an order."""

from __future__ import annotations

import math

import pytest

from clore_ai.models.price import Rates
from clore_ai.models.records import Balance, Intent
from clore_ai.rental.spend import bill

HOUR = 3600.0


def order(start: float = 0.0, end: float | None = 10 * HOUR, **more: object) -> Intent:
    """An order of 10 hours that spent 10 USD, with 0.1 for its creation."""
    facts: dict[str, object] = {
        "state": "created", "order_id": 1, "id": 1, "started_at": start, "posted_at": start,
        "ended_at": end, "seen_at": end, "spend": 10.0, "creation_fee": 0.1, "price": 24.0,
    }  # fmt: skip
    return Intent(5, "on-demand", "USD-Blockchain", "i", **{**facts, **more})  # type: ignore[arg-type]


def test_the_total_is_the_service_s_amount_plus_fees() -> None:
    """5 % of it, 1.25 % for spot, and the creation fee; unknown stays unknown."""
    whole = bill.bill(order(), 11 * HOUR, Rates())
    assert (whole.spend, whole.fees, whole.total) == (10.0, pytest.approx(0.6), pytest.approx(10.6))
    assert whole.total_usd == whole.total
    assert whole.seconds == 10 * HOUR
    spot = bill.bill(Intent(5, "spot", "bitcoin", "i", spend=8.0), 0, Rates({"bitcoin": 100.0}))
    assert spot.total_usd == pytest.approx(810.0)
    silent = bill.bill(order(spend=None), 0, Rates())
    assert (silent.total, silent.total_usd) == (None, None)


def test_a_coin_has_its_value_at_the_time_of_the_rental() -> None:
    """If that is unknown, today's value counts; else the value is unknown, never 0."""
    paid = Intent(5, "on-demand", "bitcoin", "i", spend=1.0)
    assert bill.bill(paid, 0, Rates()).total_usd is None
    assert bill.bill(paid, 0, Rates({"bitcoin": 2.0})).total_usd == pytest.approx(2.1)
    paid.usd_per_coin = 3.0
    assert bill.bill(paid, 0, Rates({"bitcoin": 2.0})).total_usd == pytest.approx(3.15)


@pytest.mark.parametrize("cut", [0.0, 0.1, 600.0, HOUR, 3.7 * HOUR, 10 * HOUR - 1])
def test_the_parts_of_an_order_add_up(cut: float) -> None:
    """The sum is the same however an order is divided."""
    whole = bill.bill(order(), 10 * HOUR, Rates())
    parts = [bill.within(whole, -math.inf, cut), bill.within(whole, cut, math.inf)]
    assert sum(p.total or 0.0 for p in parts if p) == pytest.approx(10.6)
    assert sum(p.seconds for p in parts if p) == pytest.approx(10 * HOUR)
    assert bill.within(whole, -math.inf, math.inf) == whole


def test_time_outside_the_period_does_not_count() -> None:
    """A running order counts until now, with the amount it had spent when last seen."""
    whole = bill.bill(order(), 10 * HOUR, Rates())
    assert bill.within(whole, -HOUR, 0.0) is None
    assert bill.within(whole, 10 * HOUR, 11 * HOUR) is None
    runs = bill.bill(order(end=None, seen_at=5 * HOUR), 8 * HOUR, Rates())
    assert runs.seconds == 8 * HOUR
    later = bill.within(runs, 6 * HOUR, math.inf)
    assert later is not None
    assert (later.seconds, later.spend) == (2 * HOUR, 0.0)
    moment = bill.within(bill.bill(order(end=0.0), 0, Rates()), 0.0, 1.0)  # ended at its start
    assert moment is not None
    assert moment.total == pytest.approx(10.5)


@pytest.mark.parametrize(("seconds", "once"), [(0.0, 0.0), (599.0, 0.0), (600.0, 0.1), (HOUR, 0.1)])
def test_the_creation_fee_is_due_after_ten_minutes(seconds: float, once: float) -> None:
    """Before, an order costs its minutes alone; after, the period of that moment has the fee."""
    for whole in (
        bill.bill(order(end=seconds), HOUR, Rates()),
        bill.bill(order(end=None, seen_at=seconds), HOUR, Rates()),
    ):
        assert whole.fees == pytest.approx(0.5 + once)
        first = bill.within(whole, 0.0, 600.0)
        assert first is not None
        assert first.fees == pytest.approx((first.spend or 0) * 0.05)
        second = bill.within(whole, 600.0, math.inf)
        assert ((second.fees or 0) - (second.spend or 0) * 0.05 if second else 0.0) == (
            pytest.approx(once)
        )


def test_sums_by_key_and_coin() -> None:
    """Two coins are never added; unknown amounts are counted, not taken for 0."""
    bills = [
        ("a", bill.bill(order(id=1), 0, Rates())),
        ("b", bill.bill(order(id=2, spend=None), 0, Rates())),
        ("a", bill.bill(Intent(5, "spot", "bitcoin", "i", spend=1.0, id=3), 0, Rates())),
        ("a", bill.bill(order(id=4), 0, Rates())),
    ]
    found = {(s.key, s.currency): s for s in bill.add_up(bills)}
    usd = found["a", "USD-Blockchain"]
    assert (usd.orders, usd.usd, usd.unknown) == (2, pytest.approx(21.2), 0)
    assert found["a", "bitcoin"].usd is None
    assert found["a", "bitcoin"].usd_unknown == 1
    assert found["b", "USD-Blockchain"].unknown == 1
    assert [s.key for s in bill.add_up(bills)] == ["a", "a", "b"]


@pytest.mark.parametrize("late", [-0.9, 0.0, 0.9])
@pytest.mark.parametrize(
    ("took", "unexplained"), [(0.0, None), (0.017, None), (1.0, 1.0), (-2, -2)]
)
def test_a_wallet_against_the_orders(late: float, took: float, unexplained: float | None) -> None:
    """A minute of 24 USD a day is 0.0175; an order from the second of the first look counts."""
    intent = order(start=100.0, end=100.0 + 10 * HOUR, posted_at=100.0)
    bills = [bill.bill(intent, 11 * HOUR, Rates())]
    looks = [
        Balance("USD-Blockchain", 100.0 + late, 50.0),
        Balance("bitcoin", 99.0, 1.0),  # one look proves nothing
        Balance("USD-Blockchain", 101.0 + 10 * HOUR, 50.0 - 10.6 - took),
    ]
    (wallet,) = bill.wallets(looks, bills)
    assert wallet.explained == pytest.approx(10.6)
    assert wallet.unexplained == (None if unexplained is None else pytest.approx(unexplained))


def test_a_wallet_s_fall_is_explained_in_words() -> None:
    """What the orders do not explain has likely causes, by its direction."""
    wallet = bill.Wallet("bitcoin", 0.0, HOUR, 0.3, 0.1, 0.2)
    assert wallet.in_words().startswith("Wallet BTC: fell by 0.3 since 1970-01-01")
    assert wallet.in_words().endswith("that are not in the ledger (clore orphans).")
    earned = bill.Wallet("bitcoin", 0.0, HOUR, -0.1, 0.1, -0.2).in_words()
    assert "rose by 0.1" in earned
    assert earned.endswith("or lower fees.")
    assert bill.Wallet("bitcoin", 0.0, HOUR, 0.1, 0.1, None).in_words().endswith("explain 0.1.")


def test_a_total_says_what_it_leaves_out() -> None:
    """Orders whose spend, or whose coin's worth, is not known."""
    known = bill.Sum("total", 2, HOUR, 1.0, 0.1, 1.1, "USD-Blockchain", 1.1, 1, 1)
    other = bill.Sum("total", 1, HOUR, 2.0, 0.0, 2.0, "bitcoin", None, 0, 1)
    assert bill.in_words([known, other]) == (
        "Total: 3 orders, 2h, 1.1 USD, 2 BTC = $1.10; without 1 whose spend is not known; USD "
        "without 1 whose coin's worth is not known."
    )
