"""Ticks and fees, by hand and over random lives of orders."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clore_sandbox.rules.billing import (
    CREATION_FEE_AFTER_MS,
    TICK_MS,
    Bill,
    creation_fee,
    settle,
)
from clore_sandbox.values.money import from_units, to_units, to_wire

HOUR_MS = 3_600_000


def bill(order=1, price=2, hours=168, start_ms=0, fee_ppm=50_000):
    return Bill(order, to_units(price), fee_ppm, start_ms, start_ms + hours * HOUR_MS)


def test_a_fresh_two_dollar_order_has_spent_one_tick():
    """service.md section 2, the proof: 0.0013888… = 2 x 60 s / 86,400 s."""
    (after,), _ = settle([bill()], to_units(100), 0)
    assert to_wire(after.spend) == 0.001388888888
    assert after.fee == after.spend * 5 // 100


def test_an_order_of_948_s_is_billed_its_sixteen_begun_minutes():
    (after,), left = settle([bill()], to_units(100), 948_000)
    assert after.ticks == 16
    assert left == to_units(100) - after.spend - after.fee


def test_a_day_costs_the_price_and_five_percent():
    (after,), _ = settle([bill()], to_units(100), 24 * HOUR_MS - 1)
    assert (after.spend, after.fee) == (to_units(2), to_units("0.1"))


def test_spot_pays_a_quarter_of_the_fee():
    (after,), _ = settle([bill(fee_ppm=12_500)], to_units(100), 24 * HOUR_MS - 1)
    assert after.fee == to_units("0.025")


def test_an_order_ends_at_the_maximum_length_with_no_later_tick():
    (after,), _ = settle([bill(hours=1)], to_units(100), 9 * HOUR_MS)
    assert (after.ticks, after.ended_ms, after.reason) == (60, HOUR_MS, "max_rental")


def test_an_empty_wallet_ends_the_order_at_the_next_tick():
    (after,), left = settle([bill()], bill().cost(3) + 1, HOUR_MS)
    assert (after.ticks, after.ended_ms, after.reason) == (3, 3 * TICK_MS, "no_balance")
    assert left == 1


def test_two_orders_drain_a_low_wallet_in_turns():
    early, late = bill(1), bill(2, start_ms=30_000)
    (a, b), _ = settle([early, late], bill().cost(3) + bill().cost(2) + 1, HOUR_MS)
    assert (a.ticks, b.ticks) == (3, 2)


def with_creation_fee():
    return replace(bill(), creation_fee=to_units("0.1"), creation_fee_ms=CREATION_FEE_AFTER_MS)


@pytest.mark.parametrize(
    ("after_ms", "fee"), [(0, 0), (599_999, 0), (600_000, 1), (600_001, 1), (24 * HOUR_MS, 1)]
)
def test_the_creation_fee_is_due_once_after_ten_minutes(after_ms, fee):
    """Cancelled earlier it costs none; later it is paid once, however often it is settled."""
    (at_once,), left = settle([with_creation_fee()], to_units(100), after_ms)
    assert at_once.creation_paid == fee * to_units("0.1")
    assert to_units(100) - left == at_once.spend + at_once.fee + at_once.creation_paid
    (often,), left_often = settle([with_creation_fee()], to_units(100), after_ms // 2)
    (often,), left_often = settle([often], left_often, after_ms)
    assert (often, left_often) == (at_once, left)


def test_a_wallet_without_the_creation_fee_ends_the_order():
    (after,), left = settle([with_creation_fee()], to_units("0.1"), HOUR_MS)
    assert (after.ticks, after.ended_ms, after.reason) == (10, 600_000, "no_balance")
    assert left == to_units("0.1") - bill().cost(10)


def test_a_paused_order_pays_its_creation_fee_on_resuming():
    """While outbid or offline, it is billed for nothing."""
    (before,), left = settle([with_creation_fee()], to_units(100), 60_000)
    waits = before.paused()
    assert settle([waits], left, HOUR_MS) == ([waits], left)
    (after,), _ = settle([waits.resumed(HOUR_MS)], left, HOUR_MS)
    assert after.creation_paid == to_units("0.1")


def test_usd_orders_have_the_creation_fee():
    assert creation_fee("USD-Blockchain") == to_units("0.1")
    assert creation_fee("bitcoin") == 0


@given(
    prices=st.lists(st.integers(0, 10**15), min_size=1, max_size=4),
    balance=st.integers(0, 10**13),
    steps=st.lists(st.integers(0, 3 * HOUR_MS), min_size=1, max_size=6),
)
def test_nothing_is_lost_and_no_wallet_goes_below_zero(prices, balance, steps):
    """The wallet lost what was spent plus fees, in one jump or in many."""
    bills = [Bill(n, p, 50_000, n * 7_000, 2 * HOUR_MS) for n, p in enumerate(prices)]
    left, now = balance, 0
    ended = []
    for step in steps:
        now += step
        running = [b for b in bills if b.ended_ms is None]
        after, left = settle(running, left, now)
        ended += [b for b in after if b.ended_ms is not None]
        bills = after
        assert left >= 0
    everyone = [*ended, *(b for b in bills if b.ended_ms is None)]
    assert balance - left == sum(b.spend + b.fee for b in everyone)


@given(price=st.integers(0, 9 * 10**6), at=st.lists(st.integers(0, 48 * HOUR_MS), min_size=1))
def test_the_bill_does_not_depend_on_how_often_it_is_settled(price, at):
    often, once = bill(price=price), bill(price=price)
    for now in sorted(at):
        (often,), _ = settle([often], 10**20, now)
    (once,), _ = settle([once], 10**20, max(at))
    assert often == once


@pytest.mark.parametrize("amount", ["nan", "inf", 1e30])
def test_amounts_that_cannot_be_stored_are_refused(amount):
    with pytest.raises(ValueError, match="amount"):
        to_units(amount)


def test_wire_amounts_mean_their_shortest_decimal():
    assert to_units(3e-05) == 30_000_000
    assert str(from_units(30_000_000)) == "0.00003"
    assert to_wire(to_units(2.0)) == 2
    assert isinstance(to_wire(to_units(2.0)), int)
