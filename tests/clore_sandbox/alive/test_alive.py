"""The living market: driven by a seed, under the same rules, and its books balance."""

import pytest

from clore_sandbox import Sandbox
from clore_sandbox.alive.simulation import simulate


def test_the_books_balance_after_half_a_day():
    day = simulate(days=0.5, servers=80, renters=40, seed=3)
    assert day.balanced
    # The market lives: every kind of event happens, and races are lost.
    assert {"Rent", "Leave", "Bid", "TopUp", "Reprice", "Switch", "Take"} <= set(day.count)
    assert {"server-already-rented", "can_lower_every_600_seconds"} & set(day.count)
    assert day.most_running > 20


def test_one_seed_gives_one_history():
    runs = [simulate(days=0.25, servers=40, renters=20, seed=seed) for seed in (1, 1, 2)]
    assert runs[0].count == runs[1].count != runs[2].count


@pytest.fixture
def living(own_market, renter_of):
    market = own_market(alive=True, provision=False, host_servers=1, visibility_lag_s=0, seed=5)
    return market, renter_of(market, bitcoin=1, **{"USD-Blockchain": 1e4})


def test_prices_move_and_servers_come_and_go(living):
    market, renter = living

    def seen():
        servers = renter.http.get("/marketplace").json()["servers"]
        return {s["id"]: (s["rented"], s["price"]) for s in servers}

    before = seen()
    market.advance(2 * 3600)
    assert len([1 for s, was in seen().items() if before.get(s) != was]) > 50


def test_others_bid_against_me_and_do_not_touch_my_orders(living):
    market, renter = living
    servers = renter.free("bitcoin")[:3]
    for server in servers:
        assert renter.create(server["id"]).json() == {"code": 0}
    market.advance(5 * 3600)

    def offered():
        ids = [s["id"] for s in renter.http.get("/marketplace").json()["servers"]]
        for server in ids:
            body = renter.http.get("/spot_marketplace", params={"market": server}).json()
            if len(body["market"]["offers"]) > 1:
                return body["market"]["offers"]
        return None

    offers = offered()
    assert offers
    assert sum(o["active"] for o in offers) <= 1
    assert sorted(o["si"] for o in renter.orders()) == sorted(s["id"] for s in servers)


def test_others_can_rent_a_hosts_server_at_its_own_price(own_market, renter_of):
    market = own_market(alive=True, provision=False, host_servers=3)
    host = renter_of(market)
    before = [s["pricing"] for s in host.http.get("/my_servers").json()["servers"]]
    market.advance(6 * 3600)
    assert [s["pricing"] for s in host.http.get("/my_servers").json()["servers"]] == before


def test_the_market_goes_on_after_a_restart_and_a_reset(kept_db):
    options = {"alive": True, "provision": False, "limits": False, "db": kept_db}
    with Sandbox(**options) as market:
        market.advance(3600)
        assert market._run.store.call(lambda tx: tx.number("SELECT COUNT(*) FROM orders"))
        accounts = market._run.store.call(lambda tx: tx.number("SELECT COUNT(*) FROM accounts"))
    with Sandbox(**options) as market:
        count = "SELECT COUNT(*) FROM accounts"
        assert market._run.store.call(lambda tx: tx.number(count)) == accounts
        market.reset()
        assert market._run.store.call(lambda tx: tx.number(count)) == accounts
        market.advance(3600)
        assert market._run.store.call(lambda tx: tx.number("SELECT COUNT(*) FROM orders"))
