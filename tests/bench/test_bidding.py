"""The figure of the spot autopilot, smaller; no bidder beats the one that knows the future."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
MINUTE_MS = 60_000


@pytest.fixture(scope="module")
def of_bench():
    """The modules of bench, found as `python -m bench` finds them."""
    sys.path.insert(0, str(ROOT))
    try:
        from bench.spot import bidders, bidding

        yield bidders, bidding
    finally:
        sys.path.remove(str(ROOT))


@pytest.fixture(scope="module")
def outcomes(of_bench):
    """Half a day of a few servers with many bidders."""
    bidders, bidding = of_bench
    return [
        bidders.judge(course)
        for course in bidding.simulate(days=0.5, servers=16, renters=8, ours=5, seed=0)
    ]


def test_the_autopilot_holds_the_server_at_a_low_price(of_bench, outcomes):
    """It meets the target in a contested market; a bid that stays at the limit pays more."""
    bidders, _ = of_bench
    sums = bidders.add_up(outcomes)
    assert sums.orders == 5
    assert sums.outbids >= 5
    assert sums.contested > 0.2
    assert sums.held >= 0.99
    assert 1 <= sums.price <= 1.1
    assert sums.contested_price <= 1.1
    assert sums.fixed > 1.1 * sums.knowing
    assert sums.on_demand > sums.ours


def test_counts_match_the_bill(outcomes):
    """The bench's own count of time and price is the marketplace's bill, in whole minutes."""
    for outcome in outcomes:
        day_ms = 86_400_000
        minutes = outcome.ours.outbids + len(outcome.course.needs) + 2
        at_most = outcome.course.limit * MINUTE_MS * minutes
        assert 0 <= outcome.course.spend * day_ms - outcome.ours.paid <= at_most
        assert outcome.ours.ms <= outcome.knowing.ms == outcome.fixed.ms


def test_bids_are_refused_only_to_learn_the_step(outcomes):
    """No bid was above the limit either."""
    assert {outcome.course.refusals for outcome in outcomes} <= {0, 1}
    for outcome in outcomes:
        assert max(bid for _, bid in outcome.course.bids) <= outcome.course.limit


def test_a_bidder_that_never_lowers_pays_more(of_bench, outcomes):
    """The measure recognises a worse bidder: one that only ever raises."""
    bidders, _ = of_bench
    paid = 0.0
    for outcome in outcomes:
        course, highest, bids = outcome.course, 0, []
        for at, bid in course.bids:
            highest = max(highest, bid)
            bids.append((at, highest))
        lazy = bidders.held(course.needs, bids, course.end_ms)
        assert lazy.ms >= outcome.ours.ms
        paid += lazy.paid / max(1.0, outcome.ours.paid)
    assert paid / len(outcomes) > 1.01


PLACES = st.lists(
    st.tuples(st.integers(1, 6), st.none() | st.integers(0, 9), st.integers(0, 4)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=30)
@given(PLACES, st.integers(1, 9), st.integers(1, 4), st.integers(3, 8))
def test_no_bidder_beats_the_one_that_knows_the_future(of_bench, places, first, step, limit):
    """It is compared with every way to bid in whole units: none holds as long for less."""
    bidders, bidding = of_bench
    begin, needs, least, at = bidding.BEGIN_MS, [], [], 0
    for minutes, need, asked in places:
        needs.append((begin + at * MINUTE_MS, None if need is None else max(need, asked)))
        least.append(asked)
        at += minutes * 3
    first = min(first, limit)
    course = bidding.Course(
        1, "bitcoin", 1, limit, step, 9, None, needs=needs, least=least,
        bids=[(begin, first)], end_ms=begin + at * MINUTE_MS,
    )  # fmt: skip
    found = bidders.held(needs, bidders.all_knowing(course), course.end_ms)
    fixed = bidders.held(needs, [(begin, limit)], course.end_ms)
    assert found.ms == fixed.ms
    assert found.paid == _cheapest(course, at) * MINUTE_MS


def _cheapest(course, minutes: int) -> int:
    """The cheapest way, found by trying every allowed bid up to the limit in each minute."""
    starts = [(since - course.needs[0][0]) // MINUTE_MS for since, _ in course.needs]
    place = [max(i for i, start in enumerate(starts) if start <= m) for m in range(minutes)]

    @functools.cache
    def best(minute: int, bid: int, ready: int) -> float:
        if minute == minutes:
            return 0
        need, least = course.needs[place[minute]][1], course.least[place[minute]]
        wanted = need if need is not None and need <= course.limit else None
        found = []
        for new in range(course.limit + 1):
            lowers = new < bid
            if lowers and (minute < ready or bid - new > course.step or new < least):
                continue
            if wanted is None:
                found.append(best(minute + 1, new, minute + 10 if lowers else ready))
            elif new >= wanted:
                found.append(new + best(minute + 1, new, minute + 10 if lowers else ready))
        return min(found)

    return best(0, course.bids[0][1], 0)
