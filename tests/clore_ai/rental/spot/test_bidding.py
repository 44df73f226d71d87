"""The bids of the autopilot: by hand, and checked against the marketplace's own rules."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clore_ai.exceptions import FieldError
from clore_ai.models import Order, SpotMarket
from clore_ai.rental.spot.auction import (
    AuctionView,
    Rival,
    down,
    entry,
    limit_per_day,
    read,
    up,
)
from clore_ai.rental.spot.bidding import STILL_S, Autobid
from clore_ai.rental.spot.run import SpotRun, SpotSettings
from clore_sandbox.rules import auction
from clore_sandbox.values.money import UNITS_PER_COIN, to_units, to_wire

USD, BTC, CLORE = "USD-Blockchain", "bitcoin", "CLORE-Blockchain"
RATES = {USD: 1.0, BTC: 92_000.0, CLORE: 0.012}
FIXED = auction.fixed_rates(RATES)
T = 1_700_000_000.0
TICK = 1e-8
MINE = 50


def offer(number: int, bid: float, coin: str = USD, *, active: bool = False) -> dict[str, Any]:
    return {
        "offer_id": number, "bid": bid, "active": active, "my": number == MINE, "currency": coin
    }  # fmt: skip


def market(*offers: dict[str, Any], least: Any = None, online: bool = True) -> SpotMarket:
    asked = {USD: 1.0, BTC: 0.00001, CLORE: 50.0} if least is None else least
    server = {"min_pricing": asked, "online": online}
    body = {"currency_rates_in_usd": RATES, "offers": list(offers), "server": server}
    return SpotMarket.model_validate(body)


def seen(
    *rivals: float, bid: float = 5.0, active: bool = False, limit: float = 9.0, at: float = T,
    least: float | None = 1.0, online: bool = True, others_run: bool = False,
) -> AuctionView:  # fmt: skip
    """A look with rivals in the same coin, all younger than our order."""
    found = tuple(Rival(r, up(r + TICK), others_run) for r in rivals)
    return AuctionView(at, bid, active, found, least, limit, online)


# -- reading an auction ----------------------------------------------------------------------------


def test_rivals_in_the_same_coin_are_outbid_by_a_tick():
    """At the limit an equal bid is enough for the older order only."""
    older, younger = offer(49, 6.0), offer(51, 6.0)
    for limit, above in ((9.0, 6.00000001), (6.0, 6.0)):
        found = read(market(offer(MINE, 5.0), younger), MINE, USD, limit, T)
        assert [r.above for r in found.rivals] == [above]
    found = read(market(offer(MINE, 5.0), older), MINE, USD, 6.0, T)
    assert found.rivals[0].above == 6.00000001  # can't be beaten


def test_rivals_in_other_coins_are_outbid_by_their_value():
    """A thousandth is added, as rates move, but not beyond the limit if less is enough."""
    found = read(market(offer(MINE, 5.0), offer(51, 0.0001, BTC)), MINE, USD, 20.0, T)
    assert found.rivals[0].price == pytest.approx(9.2)
    assert found.rivals[0].above == pytest.approx(9.2092)
    found = read(market(offer(MINE, 5.0), offer(51, 0.0001, BTC)), MINE, USD, 9.205, T)
    assert found.rivals[0].above == 9.205
    found = read(market(offer(MINE, 5.0), offer(51, 0.0001, BTC)), MINE, USD, 9.2, T)
    assert found.rivals[0].above > 9.2  # can't be beaten


def test_a_bid_below_the_least_bid_is_no_rival():
    """It does not run, whatever its value, unless the service says that it does."""
    asked = {USD: 1.0, BTC: 0.0005}
    idle = market(offer(MINE, 5.0), offer(51, 0.0001, BTC), least=asked)
    assert read(idle, MINE, USD, 9.0, T).rivals == ()
    runs = market(offer(MINE, 5.0), offer(51, 0.0001, BTC, active=True), least=asked)
    assert len(read(runs, MINE, USD, 9.0, T).rivals) == 1


def test_the_own_bid_must_be_among_the_offers():
    """It is found by its id, or by `my` if offers have no ids."""
    assert read(market(offer(51, 6.0)), MINE, USD, 9.0, T) is None
    assert read(market(), MINE, USD, 9.0, T) is None
    nameless = {**offer(MINE, 5.0), "offer_id": None}
    assert read(market(nameless, offer(51, 6.0)), MINE, USD, 9.0, T).bid == 5.0


def test_odd_auctions_are_read():
    """Missing rates, coins, bids or least bids do not stop the autopilot."""
    odd = SpotMarket.model_validate(
        {"offers": [offer(MINE, 5.0), {"offer_id": 51}, offer(52, 3.0, "DOGE", active=True)]}
    )
    found = read(odd, MINE, USD, 9.0, T)
    assert (found.least, found.bid, found.online) == (0.0, 5.0, True)
    assert [(r.above, r.active) for r in found.rivals] == [(0.0, True)]
    assert read(market(offer(MINE, 5.0), least={}), MINE, USD, 9.0, T).least is None


def test_limits_in_either_unit():
    """USD per hour is converted at the coin's rate, and never rounded up."""
    assert limit_per_day(0.4, None, 1.0) == pytest.approx(9.6)
    assert limit_per_day(0.4, None, 92_000.0) == 0.00010434
    assert limit_per_day(None, 0.123456789, None) == 0.12345678
    assert limit_per_day(0.4, None, None) is None


def test_the_bid_of_a_new_order():
    """It beats all rivals; it is None beyond the limit, for a refused coin or an offline host."""
    assert entry(market(offer(51, 6.0)), USD, 9.0) == 6.00000001
    assert entry(market(), USD, 9.0) == 1.0
    assert entry(market(offer(51, 9.0)), USD, 9.0) is None
    assert entry(market(), "DOGE", 9.0) is None
    assert entry(market(online=False), USD, 9.0) is None


# -- by hand ---------------------------------------------------------------------------------------


def test_a_bid_is_raised_at_once_and_only_as_far_as_needed():
    """A tick above the highest rival that can be beaten within the limit."""
    auto = Autobid()
    decision = auto.see(seen(6.0, 3.0))
    assert (decision.action, decision.standing) == ("raise", "outbid")
    assert decision.price == pytest.approx(6.0 + TICK)


def test_a_bid_stays_above_the_rivals_that_it_can_beat():
    """The order then runs as soon as the others leave."""
    decision = Autobid().see(seen(6.0, 12.0))
    assert (decision.standing, decision.price) == ("beaten", pytest.approx(6.0 + TICK))
    assert decision.needs == pytest.approx(12.0 + TICK)
    assert Autobid().see(seen(12.0, bid=1.0)).price is None
    assert Autobid().see(seen(bid=5.0, least=10.0)).price is None  # the host asks for more


def test_a_bid_without_rivals_is_lowered():
    """It falls to the least, or by a step once the step is known, and then not for 600 s."""
    auto = Autobid()
    first = auto.see(seen(bid=5.0, active=True))
    assert (first.action, first.price) == ("lower", 1.0)
    assert auto.refused(
        FieldError("no", 6, {"error": "exceeded_max_step", "max_step": 0.1}), 1.0, T
    )
    assert auto.again(T).price == pytest.approx(4.9)
    auto.accepted(4.9, T)
    assert auto.see(seen(bid=4.9, active=True, at=T + 600)).price is None
    assert auto.see(seen(bid=4.9, active=True, at=T + 602)).price == pytest.approx(4.8)


def test_a_refused_lowering_waits_as_long_as_the_service_says():
    """If the service gives no number, it waits 600 s."""
    auto = Autobid()
    auto.see(seen(bid=5.0, active=True))
    assert not auto.refused(
        FieldError("no", 6, {"error": "can_lower_every_600_seconds", "time_to_lowering": 50}), 1, T
    )
    assert auto.see(seen(bid=5.0, active=True, at=T + 40)).price is None
    assert auto.see(seen(bid=5.0, active=True, at=T + 52)).price == 1.0
    auto.refused(FieldError("no", 6, {"error": "can_lower_every_600_seconds"}), 1, T)
    assert auto.see(seen(bid=5.0, active=True, at=T + 599)).price is None


def test_an_unknown_max_step_is_found_by_halving():
    """Half of the last try, until one is accepted; an implausible number is ignored."""
    auto = Autobid()
    auto.see(seen(bid=5.0, active=True))
    assert auto.refused(FieldError("no", 6, {"error": "exceeded_max_step"}), 1.0, T)
    assert auto.again(T).price == pytest.approx(3.0)
    assert auto.refused(FieldError("no", 6, {"error": "exceeded_max_step", "max_step": 99}), 3.0, T)
    assert auto.again(T).price == pytest.approx(4.0)
    assert not auto.refused(FieldError("no", 6, {"error": "amount_too_low"}), 4.0, T)
    assert not auto.refused(FieldError("no", 6), 4.0, T)


def test_a_lowering_by_another_starts_the_clock():
    """The answer of a lowering was lost, or another terminal lowered the bid."""
    auto = Autobid()
    auto.see(seen(4.0, bid=5.0, active=True))
    auto.see(seen(bid=4.5, active=True, at=T + 20))
    assert auto.see(seen(bid=4.5, active=True, at=T + 500)).price is None
    assert auto.see(seen(bid=4.5, active=True, at=T + 622)).price == 1.0


def test_a_small_lowering_waits_for_calm_rivals():
    """It would prevent a larger one for 600 s."""
    auto = Autobid(step=1.0)
    assert auto.see(seen(4.9, bid=5.0, active=True)).price is None
    assert auto.see(seen(4.9, bid=5.0, active=True, at=T + STILL_S - 1)).price is None
    late = auto.see(seen(4.9, bid=5.0, active=True, at=T + STILL_S))
    assert late.price == pytest.approx(4.9 + TICK)


def test_headroom_applies_only_with_rivals():
    """The bid is raised before it is outbid, never above the limit."""
    auto = Autobid(headroom=0.1)
    assert auto.see(seen(5.0, bid=5.2, active=True)).price == pytest.approx(5.5, abs=1e-6)
    assert auto.see(seen(8.5, bid=5.2)).price == 9.0
    assert Autobid(headroom=0.1, step=1e-9).see(seen(bid=1.0, active=True)).price is None
    assert Autobid().see(seen(5.0, bid=5.2, active=True)).action == "hold"
    beaten = Autobid(headroom=0.1).see(seen(12.0, bid=1.0))  # no rival that can be beaten
    assert (beaten.standing, beaten.price) == ("beaten", None)


def test_no_bid_is_made_if_none_can_help():
    """An on-demand renter, a host that is gone, a coin that is no longer accepted."""
    assert Autobid().see(seen(4.0, bid=5.0)).standing == "waits"
    assert Autobid().see(seen(4.0, bid=5.0)).action == "hold"
    assert Autobid().see(seen(bid=5.0, online=False, active=True)).standing == "offline"
    gone = Autobid().see(seen(4.0, bid=5.0, least=None))
    assert (gone.standing, gone.action) == ("refused", "hold")


def test_the_service_s_answer_overrides_the_computed_bid():
    """If a rival runs despite a lower bid, ours rises until that ends, then it stays."""
    auto = Autobid(bid=5.0)
    at, price = T, 5.0
    for _ in range(6):  # the rival runs until ours is 5.2, although its bid is 4.9
        decision = auto.see(seen(4.9, bid=price, at=at, others_run=price < 5.2, active=price > 5.2))
        if decision.action == "raise":
            price = decision.price or 0.0
            auto.accepted(price, at)
        at += 40
    assert 5.2 < price < 5.6
    assert auto.see(seen(4.9, bid=price, active=True, at=at + 700)).price is None
    assert auto.see(seen(bid=price, active=True, at=at + 720)).price == 1.0  # the rival left


@pytest.mark.parametrize(("seconds", "ticks"), [(1, 1), (59, 1), (80, 2), (80, 1), (3700, 62)])
def test_whole_minutes_count_in_both_prices(seconds, ticks):
    """A bid below the on-demand price never costs more: both prices count the minutes billed.

    The saved share is that of the prices, after a minute as after an hour, whatever part of a
    minute the looks fall in.
    """
    day = 86_400.0
    flight = SpotRun(7, SpotSettings(max_per_day=10.0))
    for at in (0, seconds):
        flight.auto.see(seen(bid=9.0, active=True, at=T + at), 10.0)
    flight.on_demand = 10.0
    flight.order = Order(id=7, si=1, currency="USD-Blockchain", spend=9.0 * ticks * 60 / day)
    flight.auto.spend_before = 0.0
    report = flight.report("once")
    assert report.on_demand == pytest.approx(10.0 * ticks * 60 / day * 1.05)
    assert report.saved == pytest.approx(report.on_demand * (1 - 0.9 * 1.0125 / 1.05))


def test_each_bid_counts_for_its_time():
    """An hour at 8 and one at 4 cost 40 % less than 10 on demand."""
    auto = Autobid()
    auto.see(seen(bid=8.0, active=True), 10.0)
    auto.see(seen(bid=8.0, active=True, at=T + 3600), 10.0)
    auto.accepted(4.0, T + 3600)
    auto.see(seen(bid=4.0, active=True, at=T + 7200), 10.0)
    assert auto.on_demand_for(12.0 / 24, 10.0) == pytest.approx(20.0 / 24)
    assert Autobid.load(auto.dump()).on_demand_for(0.5, 10.0) == pytest.approx(20.0 / 24)
    older = {k: v for k, v in auto.dump().items() if k != "at_bids"}
    assert Autobid.load(older).on_demand == 0.0


def test_the_time_held_is_counted():
    """Half of the time between two looks that differ counts; each loss is counted once."""
    auto = Autobid()
    for at, active in ((0, True), (100, True), (120, False), (220, False), (240, True)):
        auto.see(seen(bid=5.0, active=active, at=T + at), 86_400.0)
    assert (auto.seen_s, auto.held_s, auto.outbids) == (240, 120, 1)
    assert auto.on_demand == 120
    assert auto.idle_since is None
    auto.see(seen(bid=5.0, at=T + 260))
    auto.see(seen(bid=5.0, at=T + 280))
    assert auto.idle_since == T + 260


@pytest.mark.parametrize("kept", [{}, {"bid": "x", "outbids": None, "active": 3, "other": 1}])
def test_stored_state_is_read_again_and_damage_ignored(kept):
    """It is kept as JSON between commands."""
    auto = Autobid(step=0.5)
    auto.see(seen(6.0))
    assert Autobid.load(auto.dump()).dump() == auto.dump()
    assert Autobid.load(kept) == Autobid()
    with pytest.raises(ValueError, match="no look"):
        Autobid.load(kept).again(T)


# -- held against the marketplace's rules ----------------------------------------------------------

COINS = st.sampled_from([USD, BTC, CLORE])
WORTH = st.integers(100, 1500).map(lambda cents: cents / 100)
STEPS = st.lists(
    st.tuples(
        st.sampled_from([20, 20, 60, 300, 601, 1300]),
        st.lists(st.tuples(st.sampled_from([40, 45, 60, 70]), WORTH, COINS), max_size=4),
        st.booleans(),
    ),
    min_size=1,
    max_size=25,
)


def in_coin(usd: float, coin: str) -> float:
    return up(usd / RATES[coin])


@settings(max_examples=60)
@given(STEPS, COINS, WORTH, WORTH)
def test_all_rules_are_kept_and_the_order_runs_if_it_can(steps, coin, limit_usd, bid_usd):
    """The marketplace itself decides what is refused, and which order runs after each look."""
    limit = down(limit_usd / RATES[coin])
    least = {c: in_coin(1.0, c) for c in RATES}
    bid, now, lowered = max(least[coin], in_coin(bid_usd, coin)), T, None
    auto, too_far = Autobid(), 0
    minimum = {c: to_units(p) for c, p in least.items()}
    for passed, others, on_demand in steps:
        now += passed
        rivals = {number: (in_coin(usd, c), c) for number, usd, c in others}
        contenders = [
            auction.Contender(n, False, c, to_units(p))
            for n, (p, c) in {**rivals, MINE: (bid, coin)}.items()
        ]
        runs = auction.winner(contenders, minimum, FIXED, taken=on_demand)
        found = read(
            market(
                *(offer(n, p, c, active=runs == n) for n, (p, c) in rivals.items()),
                offer(MINE, bid, coin, active=runs == MINE),
                least=least,
            ),
            MINE, coin, limit, now,
        )  # fmt: skip
        decision = auto.see(found)
        while decision.price is not None:
            price = decision.price
            assert price >= least[coin]
            assert price <= limit or price < bid
            ask = auction.Offer(
                1, coin, to_units(bid), minimum[coin], None if lowered is None else lowered
            )
            refusal = auction.may_set_price(
                ask, account=1, desired=to_units(price), rates=FIXED, now_ms=round(now * 1000)
            )
            if refusal is None:
                if price < bid:
                    lowered = round(now * 1000)
                auto.accepted(price, now)
                bid = price
                break
            assert refusal.error == "exceeded_max_step"
            too_far += 1
            auto.refused(FieldError("no", 6, {"error": refusal.error, **refusal.extra}), price, now)
            decision = auto.again(now)
        assert too_far <= 1
        _runs_if_it_can(rivals, bid, coin, limit, minimum)


def _runs_if_it_can(rivals, bid, coin, limit, minimum):
    """After a look the order runs; with an earlier bid above the limit it may run anyway."""
    others = [auction.Contender(n, False, c, to_units(p)) for n, (p, c) in rivals.items()]

    def wins(price: float) -> bool:
        mine = auction.Contender(MINE, False, coin, to_units(price))
        return auction.winner([*others, mine], minimum, FIXED) == MINE

    # Equal values in two coins depend on rounding: 1e-8 coin less proves nothing.
    if wins(max(limit - 2 * TICK, 0)) or (
        wins(limit) and all(c == coin for _, c in rivals.values())
    ):
        assert wins(bid)


def test_amounts_on_the_wire_are_exact():
    """A bid arrives unchanged, with 8 decimals."""
    assert (down(1 / 3), up(1 / 3), up(0.5)) == (0.33333333, 0.33333334, 0.5)
    for price in (up(1 / 3), down(0.000012345678), up(447.848000001)):
        assert to_wire(to_units(price)) == price
        assert to_units(price) % (UNITS_PER_COIN // 10**8) == 0
