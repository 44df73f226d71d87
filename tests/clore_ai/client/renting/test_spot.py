"""`client.rent(type="spot", max_bid_usd=…)` bids as little as wins, never above the limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable

import pytest
from clients import Api

from clore_ai.exceptions import BudgetError, InvalidInputError, NoOffer
from clore_ai.models.records import Budget
from clore_ai.rental.rent import spot_offers
from clore_sandbox import Sandbox
from clore_sandbox.fleet.sample import sample_fleet

if TYPE_CHECKING:
    from collections.abc import Iterator

USD = "USD-Blockchain"
TICK = 1e-8
SERVERS = (1.0, 1.5, 2.0, 9.0)
"""The least bid of each host, USD per day; so low that fees do not matter."""


def fleet() -> list[dict[str, Any]]:
    """Servers that differ only in their least bid."""
    model = next(r for r in sample_fleet(0) if not r["rented"] and not r.get("gigaspot"))
    return [
        {
            **model,
            "id": 7000 + number,
            "owner": 100 + number,
            "price": {"on_demand": {USD: 20.0}, "spot": {USD: least}},
            "allowed_coins": [USD],
            "reliability": 0.99,
        }
        for number, least in enumerate(SERVERS, 1)
    ]


@pytest.fixture(params=[0.1])
def market(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A marketplace per test, since each test makes the rival bids itself."""
    with Sandbox(
        inventory={"servers": fleet()}, visibility_lag_s=0.05, boot_s=request.param, limits=False
    ) as sandbox:
        yield sandbox


@pytest.fixture
def outbid(market: Sandbox) -> Iterator[Callable[[int, float], None]]:
    """Makes another renter bid on a server, in USD per day."""
    others: list[Api] = []

    def bid(server: int, price: float) -> None:
        others.append(Api("sync", market))
        others[-1].rent(server, type="spot", currency=USD, spot_price=price)

    yield bid
    for other in others:
        other.shut()


def renting(api: Api, per_day: float, **more: Any) -> Any:
    """A rental with a highest bid in USD per day."""
    return api.renting(type="spot", max_bid_usd=per_day / 24, **{"verify": "ssh", **more})


def bids(api: Api) -> list[float]:
    """All bids of this account, in USD per day."""
    made = [e.body["spotprice"] for e in api.entries("create_order")]
    return made + [e.body["desired_price"] for e in api.entries("set_spot_price")]


def kinds(rental: Any) -> list[str]:
    return [event.what for event in rental.events]


def test_without_rivals_the_least_bid_of_the_cheapest_host_wins(api):
    """The spot market is read once before the order and once after."""
    with renting(api, 3) as rental:
        assert (rental.order.server_id, rental.order.price) == (7001, 1.0)
        assert kinds(rental) == ["trying", "created", "up", "rented"]
        assert rental.events[0].usd_per_hour == pytest.approx(1 / 24)
    assert len(api.entries("spot_marketplace")) == 2
    assert "required_price" not in api.entries("create_order")[0].body
    assert [o.id for o in api.my_orders() if o.active] == []


def test_the_best_offer_is_the_one_with_the_lowest_winning_bid(api, outbid):
    """Once others bid on the cheapest server of the list, it may not be the best."""
    outbid(7001, 1.6)
    with renting(api, 3, verify="none") as rental:
        assert (rental.order.server_id, rental.order.price) == (7002, 1.5)
    outbid(7002, 1.7)
    with renting(api, 3, verify="none") as rental:
        assert rental.order.server_id == 7001
        assert rental.order.price == pytest.approx(1.6 + TICK, abs=1e-9)
        auctioned = {o.order_id: o.active for o in api.spot_marketplace(7001).offers}
        assert auctioned[rental.order.id] is True


def test_no_bid_exceeds_the_limit(api, outbid):
    outbid(7001, 1.9)
    outbid(7002, 2.5)
    with renting(api, 1.95) as rental:
        assert rental.order.server_id == 7001
    outbid(7001, 1.94999999)
    with renting(api, 1.95) as rental:
        assert rental.order.price == pytest.approx(1.95, abs=1e-9)
    assert max(bids(api)) <= 1.95


def test_a_bid_that_loses_before_the_order_is_made_is_raised(api, outbid):
    """The order is made but does not run; its bid is raised before the wait for the machine."""

    def late(event: Any) -> None:
        if event.what == "trying":
            outbid(event.server_id, 1.2)

    with renting(api, 3, on_event=late) as rental:
        assert kinds(rental) == ["trying", "created", "raised", "up", "rented"]
        raised = rental.events[2]
        assert raised.usd_per_hour == pytest.approx((1.2 + TICK) / 24)
        assert rental.order.server_id == 7001
    assert bids(api) == [1.0, pytest.approx(1.2 + TICK, abs=1e-9)]


def test_an_order_outbid_beyond_the_limit_is_replaced_by_the_next_offer(api, outbid):
    """The failure does not count against the host."""

    def late(event: Any) -> None:
        if event.what == "trying" and event.server_id == 7001:
            outbid(7001, 2.5)

    with renting(api, 2, on_event=late) as rental:
        failed = next(e for e in rental.events if e.what == "failed")
        assert failed.reason == "others bid more than the limit"
        assert rental.order.server_id == 7002
        assert [s.good for s in api.session.hosts.sights()] == [True]
    assert bids(api) == [1.0, 1.5]
    assert [o.id for o in api.my_orders() if o.active] == []


@pytest.mark.parametrize("market", [3.0], indirect=True)
def test_a_bid_that_loses_during_boot_is_raised_again(api, outbid, monkeypatch):
    """The bid is checked every 20 s; more often in this test."""
    monkeypatch.setattr(spot_offers.BidKeeper, "every_s", 0.2)
    prices = [1.1, 1.2]

    def others(event: Any) -> None:
        if event.what in ("created", "raised") and prices:
            outbid(7001, prices.pop(0))

    with renting(api, 3, on_event=others) as rental:
        assert kinds(rental) == ["trying", "created", "raised", "raised", "up", "rented"]
        assert rental.order.server_id == 7001


def test_no_match_says_what_the_lowest_bid_would_be(api, outbid):
    """The amount follows the hosts' least bids, and others' bids if those are the reason."""
    with pytest.raises(NoOffer, match=r"max_bid_usd: 0\). Without max_bid_usd: 4 servers, from"):
        renting(api, 0.9).start()
    for server, least in zip((7001, 7002, 7003), SERVERS):
        outbid(server, least + 2)
    with pytest.raises(NoOffer) as caught:
        renting(api, 2.5).start()
    said = str(caught.value)
    assert "max_bid_usd: 3, bids of others: 0)" in said
    assert "Without max_bid_usd: 3 servers, from $0.13" in said  # 3 a day, fees included
    assert api.entries("create_order") == []


def test_a_budget_must_hold_at_the_limit(api):
    """The bid may rise to the limit, so the budget must cover the limit."""
    api.ledger.set_budget(Budget(USD, "day", 0.11))  # 0.1 of it is the creation fee
    with pytest.raises(BudgetError):
        renting(api, 480, lease_h=1).start()
    assert api.entries("create_order") == []
    with renting(api, 1.5, lease_h=0.05, verify="none"):
        pass


def test_the_highest_cost_is_computed_at_the_limit(api):
    with renting(api, 2.4, max_cost_usd=0.2, verify="none") as rental:
        (intent,) = api.ledger.running()
        assert intent.order_id == rental.order.id
        assert intent.lease_s <= 0.1 / (2.4 * 1.0125) * 86_400  # 0.1 is the creation fee


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"max_bid_usd": 0.0}, "max_bid_usd must be a number above 0"),
        ({"max_bid_usd": -1.0}, "max_bid_usd must be a number above 0"),
        ({"max_bid_usd": float("nan")}, "max_bid_usd must be a number above 0"),
        ({"max_bid_usd": 1.0, "type": "on-demand"}, 'max_bid_usd goes with type="spot"'),
        ({"max_bid_usd": 1.0, "spot_price": 1.0}, "one of them"),
        ({"spot_price": 1.0}, "in one coin: name it with currency"),
        ({}, "needs spot_price, your bid in coin per day, or max_bid_usd"),
    ],
)
def test_invalid_spot_wishes_are_refused(api, words, says):
    with pytest.raises(InvalidInputError, match=says):
        api.renting(**{"type": "spot", **words})
    assert api.entries() == []
