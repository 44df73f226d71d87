"""The spot auction: by hand, and over HTTP as renters and hosts see it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clore_sandbox.rules import TRANSITIONS
from clore_sandbox.rules.auction import (
    Contender,
    Offer,
    fixed_rates,
    max_step,
    may_set_price,
    winner,
    worth,
)
from clore_sandbox.values.money import COINS, to_units

RATES = fixed_rates({"bitcoin": 90_000.0, "CLORE-Blockchain": 0.01, "USD-Blockchain": 1.0})
NOTHING = dict.fromkeys(COINS, 0)


def bid(order, price, coin="USD-Blockchain", on_demand=False):
    return Contender(order, on_demand, coin, to_units(price))


class TestRules:
    def test_the_bid_worth_most_in_usd_wins_across_coins(self):
        bids = [bid(1, 9), bid(2, "0.00011", "bitcoin"), bid(3, 950, "CLORE-Blockchain")]
        assert winner(bids, NOTHING, RATES) == 2
        assert winner([bids[0], bids[2]], NOTHING, RATES) == 3

    def test_of_equal_bids_the_older_wins(self):
        equal = [bid(7, 9), bid(5, "0.0001", "bitcoin"), bid(6, 900, "CLORE-Blockchain")]
        assert winner(equal, NOTHING, RATES) == 5

    def test_on_demand_wins_over_any_bid(self):
        assert winner([bid(1, 1000), bid(2, 1, on_demand=True)], NOTHING, RATES) == 2

    def test_a_bid_below_the_minimum_or_in_a_refused_coin_does_not_run(self):
        assert winner([bid(1, 5)], {"USD-Blockchain": to_units(6)}, RATES) is None
        assert winner([bid(1, 5)], {"bitcoin": 0}, RATES) is None

    def test_a_rental_outside_the_market_stops_bids_but_not_on_demand(self):
        assert winner([bid(1, 5)], NOTHING, RATES, taken=True) is None
        assert winner([bid(1, 5, on_demand=True)], NOTHING, RATES, taken=True) == 1

    @given(st.lists(st.tuples(st.sampled_from(COINS), st.integers(0, 10**15)), max_size=6))
    def test_the_order_of_reading_bids_does_not_matter(self, bids):
        contenders = [Contender(n, False, coin, price) for n, (coin, price) in enumerate(bids)]
        named = winner(contenders, NOTHING, RATES)
        assert named == winner(contenders[::-1], NOTHING, RATES)
        best = max((worth(c.price, c.coin, RATES) for c in contenders), default=None)
        assert (named is None) == (best is None)
        if named is not None:
            assert worth(contenders[named].price, contenders[named].coin, RATES) == best

    def test_one_step_is_worth_the_same_in_every_coin(self):
        """The service's API page: "by max of 0.00000100"."""
        assert max_step("bitcoin", RATES) == to_units("0.000001")
        assert max_step("USD-Blockchain", RATES) == to_units("0.09")
        assert max_step("CLORE-Blockchain", RATES) == to_units(9)

    def test_only_listed_transitions_can_happen(self):
        """An ended order stays ended, and every state has a transition for each way to end."""
        assert not [state for state, _ in TRANSITIONS if state == "ended"]
        for state in ("waiting", "running"):
            for event in ("cancelled", "no_balance", "max_rental"):
                turn = TRANSITIONS[state, event]
                assert turn.state == "ended"
                assert turn.room == ("ends" if state == "running" else "stays")
        assert ("running", "wins") not in TRANSITIONS


class TestSetSpotPrice:
    def ask(self, desired, *, price=9, minimum=5, lowered_ms=None, now_ms=0, account=1):
        offer = Offer(1, "USD-Blockchain", to_units(price), to_units(minimum), lowered_ms)
        refusal = may_set_price(
            offer, account=account, desired=to_units(desired), rates=RATES, now_ms=now_ms
        )
        return None if refusal is None else (refusal.error, dict(refusal.extra))

    def test_raising_is_free_at_any_time(self):
        assert self.ask(9000, lowered_ms=0, now_ms=1) is None
        assert self.ask(9, lowered_ms=0, now_ms=1) is None

    def test_lowering_has_a_maximum_step(self):
        assert self.ask("8.91") is None
        assert self.ask("8.9099") == ("exceeded_max_step", {"max_step": 0.09})

    @pytest.mark.parametrize(
        ("passed_ms", "left_s"), [(0, 600), (1, 600), (1000, 599), (599_999, 1), (600_000, None)]
    )
    def test_lowering_has_a_cooldown(self, passed_ms, left_s):
        refused = ("can_lower_every_600_seconds", {"time_to_lowering": left_s})
        answer = self.ask("8.95", lowered_ms=5000, now_ms=5000 + passed_ms)
        assert answer == (refused if left_s is not None else None)

    def test_the_minimum_applies_to_raising_too(self):
        assert self.ask("4.99")[0] == "amount_too_low"
        assert self.ask("4.99", price=4)[0] == "amount_too_low"
        assert self.ask(0, minimum=0)[0] == "amount_too_low"

    def test_another_accounts_offer_is_not_found(self):
        assert self.ask(10, account=2)[0] == "order_dont_exist"


# -- over HTTP -------------------------------------------------------------------------------------

COIN = "USD-Blockchain"


@pytest.fixture
def auction(own_market, renter_of):
    """A market, three rich renters, and a free server with its lowest bid in USD."""
    market = own_market(provision=False, visibility_lag_s=0, boot_s=0)
    renters = [renter_of(market, **{COIN: 1000, "bitcoin": 1}) for _ in range(3)]
    server = next(
        s
        for s in renters[0].free(COIN)
        if COIN in s["price"]["spot"] and "bitcoin" in s["price"]["spot"] and s["mrl"] > 100
    )
    return market, renters, server["id"], server["price"]["spot"][COIN]


def offer(renter, server, price, coin=COIN):
    answer = renter.create(server, type="spot", spotprice=price, currency=coin)
    assert answer.json() == {"code": 0}
    return next(o for o in offers(renter, server) if o["my"])["offer_id"]


def offers(renter, server):
    return renter.http.get("/spot_marketplace", params={"market": server}).json()["market"][
        "offers"
    ]


def active(renter, server):
    return [o["offer_id"] for o in offers(renter, server) if o["active"]]


def set_price(renter, order, price):
    return renter.post("set_spot_price", order_id=order, desired_price=price).json()


def test_a_bid_runs_and_everyone_sees_it(auction):
    _, (a, b, _), server, least = auction
    order = offer(a, server, least)
    assert offers(a, server) == [
        {"offer_id": order, "bid": least, "active": True, "my": True, "currency": COIN}
    ]
    assert [o["my"] for o in offers(b, server)] == [False]
    (row,) = a.orders()
    assert (row["id"], row["spot"], row["price"], row["creation_fee"]) == (order, True, least, 0.1)
    assert row["spend"] == pytest.approx(least * 60 / 86_400, abs=1e-11)


def test_an_outbid_order_waits_unbilled_and_resumes(auction):
    market, (a, b, c), server, least = auction
    first = offer(a, server, least)
    market.advance(3600)
    second = offer(b, server, least + 1)
    assert active(a, server) == [second]
    (row,) = a.orders()
    assert (row["mon_container"], row["tcp_ports"]) == (0, [])
    assert "expired" not in row
    assert "pub_cluster" not in row
    spent = row["spend"]
    market.advance(7200)
    assert a.orders()[0]["spend"] == spent
    third = offer(c, server, least + 0.5)
    assert active(a, server) == [second]
    b.cancel({"id": second})
    assert active(a, server) == [third]
    assert set_price(a, first, least + 2) == {"code": 0}
    assert active(a, server) == [first]
    market.advance(3600)
    after = a.orders()[0]["spend"]
    assert after - spent == pytest.approx((least + 2) / 24, rel=0.02)


def test_bids_in_different_coins_are_compared_in_usd(auction):
    _, (a, b, _), server, least = auction
    offer(a, server, least)
    body = a.http.get("/spot_marketplace", params={"market": server}).json()["market"]
    rate = body["currency_rates_in_usd"]["bitcoin"]
    more = max(least * 1.01 / rate, body["server"]["min_pricing"]["bitcoin"])
    order = offer(b, server, round(more, 8), "bitcoin")
    assert [o["currency"] for o in offers(a, server)] == ["bitcoin", COIN]
    assert active(a, server) == [order]


def test_a_server_with_a_running_bid_can_be_rented_on_demand(auction):
    market, (a, b, _), server, least = auction
    order = offer(a, server, least)
    assert server in [s["id"] for s in b.free(COIN)]
    assert b.create(server, currency=COIN).json() == {"code": 0}
    assert server not in [s["id"] for s in b.free(COIN)]
    assert active(a, server) == []
    assert b.create(server, type="spot", spotprice=least, currency=COIN).json()["error"] == (
        "server-already-rented"
    )
    b.cancel(b.orders()[0])
    assert active(a, server) == [order]
    market.set_rented(server, True)
    assert active(a, server) == []
    market.set_rented(server, False)
    assert active(a, server) == [order]


def test_a_waiting_offer_expires_with_the_maximum_rental_length(auction):
    market, (a, b, _), server, least = auction
    offer(a, server, least)
    offer(b, server, least + 1)
    market.advance(1500 * 3600)
    assert offers(a, server) == []
    (row,) = a.orders(return_completed="true")
    assert row["order_end"] - row["ct"] == row["mrl"]


def test_a_renter_without_money_gives_way(auction, renter_of):
    market, (a, _, _), server, least = auction
    waits = offer(a, server, least)
    poor = renter_of(market, **{COIN: 0.1 + (least + 1) / 48})
    runs = offer(poor, server, least + 1)
    assert active(a, server) == [runs]
    market.advance(3600)
    assert active(a, server) == [waits]
    (row,) = poor.orders(return_completed="true")
    assert row["expired"]
    began = a.orders()[0]["spend"] / least * 86_400
    # Counted from the moment the other's wallet was empty, after half an hour, not from the look.
    assert 1750 <= began <= 2050


def test_the_cooldown_is_for_lowering_only(auction):
    market, (a, _, _), server, least = auction
    order = offer(a, server, least + 10)
    answer = set_price(a, order, least)
    assert answer["error"] == "exceeded_max_step"
    step = answer["max_step"]
    assert set_price(a, order, least + 10 - step) == {"code": 0}
    assert set_price(a, order, least + 20) == {"code": 0}
    answer = set_price(a, order, least + 20 - step)
    assert answer["error"] == "can_lower_every_600_seconds"
    assert 590 < answer["time_to_lowering"] <= 600
    market.advance(300)
    later = set_price(a, order, least + 20 - step)
    assert later["time_to_lowering"] <= answer["time_to_lowering"] - 300
    market.advance(300)
    assert set_price(a, order, least + 20 - step) == {"code": 0}


def test_a_raised_minimum_makes_a_bid_wait(own_market, renter_of):
    market = own_market(provision=False, visibility_lag_s=0, boot_s=0, host_servers=1)
    host, renter = renter_of(market), renter_of(market, **{COIN: 1000})
    server = host.http.get("/my_servers").json()["servers"][0]
    order = offer(renter, server["id"], server["min_spot_pricing"][COIN])
    assert active(renter, server["id"]) == [order]
    settings = {"name": "MyGPU", "availability": True, "mrl": 100, f"{COIN}_on_demand": 99}
    assert host.post("set_server_settings", **settings, **{f"{COIN}_spot": 50}).json()["code"] == 0
    assert active(renter, server["id"]) == []
    assert set_price(renter, order, 49)["error"] == "amount_too_low"
    assert set_price(renter, order, 50) == {"code": 0}
    assert active(renter, server["id"]) == [order]


def test_the_room_of_an_outbid_order_ends_and_boots_again(own_market, renter_of, wait):
    """Its processes and ports are gone; once it is the highest again, it boots anew."""
    import socket

    market = own_market()
    a, b = (renter_of(market, **{COIN: 1000}) for _ in range(2))
    server = next(s for s in a.free(COIN) if COIN in s["price"]["spot"])
    least = server["price"]["spot"][COIN]
    a.create(
        server["id"],
        type="spot",
        spotprice=least,
        currency=COIN,
        ports={"22": "tcp"},
        ssh_password="Secret123",
    )

    def port():
        rows = [o for o in a.orders() if o["mon_container"] == 2 and o["tcp_ports"]]
        return int(rows[0]["tcp_ports"][0].split(":")[1]) if rows else None

    def answers(number):
        try:
            with socket.create_connection(("127.0.0.1", number), 1) as sock:
                return sock.recv(4) == b"SSH-"
        except OSError:
            return False

    before = wait(port)
    wait(lambda: answers(before))
    theirs = offer(b, server["id"], least + 1)
    assert not answers(before)
    assert port() is None
    b.cancel({"id": theirs})
    wait(lambda: port() and answers(port()))


class TestReferenceDialect:
    def test_offers_have_both_names_and_orders_are_paused(self, own_market, renter_of):
        market = own_market(provision=False, visibility_lag_s=0, boot_s=0, dialect="reference")
        a, b = (renter_of(market, **{COIN: 1000}) for _ in range(2))
        server = next(s for s in a.free(COIN) if COIN in s["price"]["spot"])
        least = server["price"]["spot"][COIN]
        made = a.create(server["id"], type="spot", spotprice=least, currency=COIN).json()
        assert (made["order"]["type"], made["order"]["status"]) == ("spot", "running")
        b.create(server["id"], type="spot", spotprice=least + 1, currency=COIN)
        (mine,) = [o for o in offers(a, server["id"]) if o["my"]]
        assert mine["order_id"] == mine["offer_id"] == made["order_id"]
        assert mine["price"] == mine["bid"] == least
        assert mine["server_id"] == server["id"]
        assert a.orders()[0]["status"] == "paused"
