"""The life of an order as its renter sees it, in the live dialect."""

from decimal import Decimal

import pytest

ACTIVE = {
    "id",
    "creation_fee",
    "price",
    "mrl",
    "image",
    "currency",
    "spend",
    "ct",
    "specs",
    "si",
    "mon_container",
    "online",
    "pub_cluster",
    "tcp_ports",
    "http_port",
    "http_pub",
    "rating",
    "reliability",
    "owner",
    "cuda_version",
    "gpu_array",
}


@pytest.fixture
def slow(own_market, renter_of):
    """A market with the usual delays of orders, whose clock the test moves."""
    market = own_market(visibility_lag_s=30, boot_s=60)
    return market, renter_of(market)


def test_an_order_appears_connects_and_boots_in_turn(slow, wait):
    market, renter = slow
    server = renter.free()[0]
    assert renter.create(server["id"], ports={"22": "tcp", "8888": "http"}).json() == {"code": 0}
    assert renter.orders() == []
    market.advance(31)
    (row,) = renter.orders()
    assert (row["si"], row["mon_container"], row["tcp_ports"]) == (server["id"], 0, [])
    assert "pub_cluster" not in row
    market.advance(25)
    (row,) = renter.orders()
    assert row["pub_cluster"] == ["127.0.0.1"]
    assert row["mon_container"] == 0
    market.advance(40)
    (row,) = renter.orders()
    assert row["mon_container"] == 2
    assert set(row) == ACTIVE
    assert row["tcp_ports"][0].startswith("22:")
    assert row["http_port"] == "8888"


def test_an_active_row_equals_the_observed_one(renter):
    server = renter.free("USD-Blockchain")[0]
    row = renter.rent(server["id"], currency="USD-Blockchain", ports={})
    assert row["creation_fee"] == 0.1
    assert row["mrl"] == server["mrl"] * 3600
    assert row["price"] == server["price"]["on_demand"]["USD-Blockchain"]
    assert not {"status", "type", "order_id", "renting_server", "created", "expired"} & set(row)
    assert row["spend"] == pytest.approx(row["price"] * 60 / 86_400, abs=1e-11)
    renter.cancel(row)


def test_a_closed_row_equals_the_observed_one(renter):
    order = renter.rent(ports={"22": "tcp"})
    renter.cancel(order)
    assert renter.orders() == []
    (row,) = renter.orders(return_completed="true")
    assert (row["expired"], row["online"], row["tcp_ports"], row["mon_container"]) == (
        *(True, True, [], 2),
    )
    assert row["order_end"] >= row["ct"]
    assert "pub_cluster" not in row


def test_a_cancelled_server_is_free_again(renter):
    server = renter.free()[0]["id"]
    for _ in range(2):
        order = renter.rent(server, ports={})
        assert server not in [s["id"] for s in renter.free()]
        renter.cancel(order)
    assert server in [s["id"] for s in renter.free()]


def test_the_wallet_is_charged_by_the_minute(slow):
    market, renter = slow
    server = renter.free("USD-Blockchain")[0]
    price = Decimal(str(server["price"]["on_demand"]["USD-Blockchain"]))
    before = market.wallet()["USD-Blockchain"]
    renter.create(server["id"], currency="USD-Blockchain")
    market.advance(3600 * 2 - 1)
    paid = before - market.wallet()["USD-Blockchain"]
    assert paid == pytest.approx(
        price / 12 * Decimal("1.05") + Decimal("0.1"), abs=Decimal("1e-11")
    )
    (row,) = renter.orders()
    assert row["spend"] == pytest.approx(float(price / 12), abs=1e-11)


def test_an_empty_wallet_ends_the_order(slow):
    market, renter = slow
    server = renter.free("USD-Blockchain")[0]
    renter.create(server["id"], currency="USD-Blockchain")
    market.advance(3600 * 24 * 365)
    assert renter.orders() == []
    (row,) = renter.orders(return_completed="true")
    assert row["expired"]
    assert row["order_end"] - row["ct"] <= row["mrl"]
    assert server["id"] in [s["id"] for s in renter.free("USD-Blockchain")]
    assert market.wallet()["USD-Blockchain"] >= 0


def test_the_maximum_rental_length_ends_the_order(own_market, renter_of):
    market = own_market(balances={"bitcoin": 100}, provision=False)
    renter = renter_of(market)
    server = renter.free()[0]
    renter.create(server["id"])
    market.advance(server["mrl"] * 3600 - 10)
    assert len(renter.orders()) == 1
    market.advance(20)
    (row,) = renter.orders(return_completed="true")
    assert row["order_end"] - row["ct"] == server["mrl"] * 3600
    assert row["spend"] == pytest.approx(row["price"] * server["mrl"] / 24, abs=1e-11)


def test_the_order_list_has_its_limit_and_code(renter):
    body = renter.http.get("/my_orders").json()
    assert list(body) == ["orders", "limit", "code"]
    assert body["limit"] == 999_999


def test_orders_are_private_to_an_account(renter, renter_of):
    renter.rent(ports={})
    assert renter_of(renter.sandbox, fresh=True).orders(return_completed="true") == []


def test_a_top_up_shows_in_the_wallet(market):
    key = market.create_account({"bitcoin": "0.1"})
    market.top_up(key, "bitcoin", "0.000000000001")
    assert market.wallet(key)["bitcoin"] == Decimal("0.100000000001")
    with pytest.raises(ValueError, match="no such coin"):
        market.top_up(key, "dogecoin", 1)
    with pytest.raises(KeyError):
        market.wallet("nobody")


def test_reset_is_a_fresh_start(own_market, renter_of):
    market = own_market()
    renter = renter_of(market)
    renter.rent()
    market.fault("wallets", "500")
    market.reset()
    assert renter.orders(return_completed="true") == []
    assert renter.http.get("/wallets").json()["wallets"][0]["balance"] == 0.01
    assert len(market.journal()) == 2


def test_books_balance(slow):
    """Renters lost exactly what hosts earned plus fees, to the last unit."""
    market, renter = slow

    def total():
        return market._run.store.call(
            lambda tx: [
                tuple(r)
                for r in tx.all("SELECT coin, SUM(amount) FROM wallets GROUP BY coin ORDER BY coin")
            ]
        )

    before = total()
    for server in renter.free()[:3]:
        renter.create(server["id"])
    market.advance(100_000)
    renter.orders()
    assert total() == before
