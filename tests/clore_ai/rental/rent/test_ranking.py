"""The order of offers by real cost, the choice of the coin, and why no offer matches (pure)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clore_ai._state.hosts import Block, HostRecord, think
from clore_ai.models import MarketplaceServer
from clore_ai.rental.market import listing
from clore_ai.rental.rent import no_match, ranking
from clore_ai.rental.rent.wish import Wish, of
from clore_ai.rental.spend.lease import Limits

if TYPE_CHECKING:
    from clore_ai.models.records import NoMatch

USD, BTC, CLORE = "USD-Blockchain", "bitcoin", "CLORE-Blockchain"
WORTH = {BTC: 100_000.0, CLORE: 0.01}


def record(number: int, usd: float | None = 2.4, **changes: Any) -> dict[str, Any]:
    """A server with one 4090 for `usd` a day, at the same value in every coin."""
    price = {} if usd is None else {USD: usd, BTC: usd / WORTH[BTC], CLORE: usd / WORTH[CLORE]}
    made = {
        "id": number,
        "owner": 1000 + number,
        "mrl": 72,
        "rented": False,
        "price": {"on_demand": price, "spot": {}},
        "allowed_coins": [USD, BTC, CLORE],
        "reliability": 0.9,
        "specs": {
            "gpu": "1x NVIDIA GeForce RTX 4090",
            "gpuram": 24,
            "ram": 64,
            "disk": "SSD 500GB",
            "net": {"cc": "SE", "down": 500},
        },
        "cuda_version": "12.4",
    }
    specs = {**made["specs"], **changes.pop("specs", {})}
    return {**made, **changes, "specs": specs}


def server(*args: Any, **changes: Any) -> MarketplaceServer:
    made = MarketplaceServer.model_validate(record(*args, **changes))
    made.use_rates(WORTH)
    return made


def ids(offers: list[ranking.Offer]) -> list[int]:
    return [offer.server.id for offer in offers]


def test_the_cheapest_comes_first_and_then_the_more_reliable():
    servers = [server(1, 4.8), server(2, 2.4), server(3, 2.4, reliability=0.99)]
    assert ids(ranking.offers(servers, of(currency=USD))) == [3, 2, 1]


def test_the_creation_fee_counts_more_for_a_shorter_lease():
    """It is 0.1 USD for payment in USD (service.md, 4): more than 2 % of the price of an hour."""
    dear_coin = server(1, None)
    dear_coin.price.on_demand.USD_Blockchain = 2.40
    dear_coin.price.on_demand.CLORE_Blockchain = 2.45 / WORTH[CLORE]
    (day,) = ranking.offers([dear_coin], of(limits=Limits(None, given=True)))
    (hour,) = ranking.offers([dear_coin], of(limits=Limits(3600, given=True)))
    assert (day.cost.coin, hour.cost.coin) == (CLORE, CLORE)
    (long,) = ranking.offers([dear_coin], of(limits=Limits(72 * 3600, given=True)))
    assert long.cost.coin == USD
    assert long.effective.usd_per_hour == pytest.approx(2.4 * 1.05 / 24 + 0.1 / 72)


def test_a_lease_of_less_than_ten_minutes_pays_no_creation_fee():
    """Its cost, its rank and the balance that the wallet needs omit the fee."""
    short = of(currency=USD, limits=Limits(540, given=True))
    need = 2.4 * 1.05 * 540 / 86_400
    (offer,) = ranking.offers([server(1)], short, {USD: need + 1e-9})
    assert offer.end.at_most == pytest.approx(need)
    assert offer.effective.usd_per_hour == pytest.approx(2.4 * 1.05 / 24)
    assert offer.lasts_h == pytest.approx(540 / 3600)
    (longer,) = ranking.offers([server(1)], of(currency=USD, limits=Limits(600, given=True)))
    assert longer.end.at_most == pytest.approx(0.1 + 2.4 * 1.05 / 144)


@pytest.mark.parametrize("most", [0.01, 0.1, 0.11, 0.1175, 0.2])
def test_a_cost_limit_buys_the_longest_lease_it_covers(most):
    """A limit below the creation fee buys a lease that ends just before the fee is due."""
    (offer,) = ranking.offers([server(1)], of(currency=USD, limits=Limits(max_cost_usd=most)))
    lease_s = offer.end.lease_s
    assert offer.cost.of(lease_s) <= most + 1e-9
    assert offer.cost.of(lease_s + 1) > most


def test_auto_selects_the_cheapest_coin_that_is_allowed_and_covered():
    one = server(1, allowed_coins=[USD, BTC])
    one.price.on_demand.CLORE_Blockchain = 1.0  # very cheap, but not allowed
    one.price.on_demand.bitcoin = 1.2 / WORTH[BTC]
    plenty = {USD: 100.0, BTC: 1.0, CLORE: 1e9}
    assert ranking.offers([one], of(), plenty)[0].cost.coin == BTC
    assert ranking.offers([one], of(), {**plenty, BTC: 0.0})[0].cost.coin == USD
    assert ranking.offers([one], of(), {CLORE: 1e9}) == []
    assert ranking.offers([one], of(currency=CLORE), plenty) == []


def test_covered_means_the_creation_fee_and_the_first_hour():
    need = 0.1 + 2.4 * 1.05 / 24
    assert ranking.offers([server(1)], of(currency=USD), {USD: need + 1e-9})
    assert not ranking.offers([server(1)], of(currency=USD), {USD: need - 1e-9})


def test_max_price_excludes_fees_and_unknown_prices():
    assert ranking.offers([server(1, 2.4)], of(max_price_usd=0.1))
    assert not ranking.offers([server(1, 2.41)], of(max_price_usd=0.1))
    unknown = server(1, None)
    unknown.price.on_demand.bitcoin = 1e-9
    unknown.use_rates({})
    assert ranking.offers([unknown], of())
    assert not ranking.offers([unknown], of(max_price_usd=100))


def test_a_lease_longer_than_the_host_allows_does_not_match():
    assert not ranking.offers([server(1, mrl=6)], of(limits=Limits(7 * 3600, given=True)))
    (offer,) = ranking.offers([server(1, mrl=6)], of())
    assert offer.end.lease_s == 6 * 3600


def test_a_bid_below_the_least_bid_is_not_an_offer():
    low = server(1)
    low.price.spot.bitcoin = 2e-5
    wish = of(type="spot", currency=BTC, spot_price=2e-5)
    assert ranking.offers([low], wish)[0].cost.price.per_day == 2e-5
    assert ranking.offers([low], wish.but(spot_price=1.9e-5)) == []


@pytest.mark.parametrize(
    ("sort", "best"), [("price", 1), ("reliability", 2), ("gpu", 3), ("ram", 4), ("down", 5)]
)
def test_sort(sort, best):
    servers = [
        server(1, 1.0),
        server(2, reliability=1.0),
        server(3, gpu_array=["RTX 4090", "RTX 4090"]),
        server(4, specs={"ram": 512}),
        server(5, specs={"net": {"cc": "SE", "down": 9000}}),
    ]
    assert ranking.offers(servers, of(sort=sort))[0].server.id == best


def test_the_host_s_record_adds_to_its_cost_or_bars_it():
    failed = [HostRecord(1, 1001, 0.0, good=False)]
    servers = [server(1, 2.4), server(2, 2.9), server(3, 9.0)]
    assert ids(ranking.offers(servers, of(), None, think(failed, [], 1))) == [2, 1, 3]
    assert ids(ranking.offers(servers, of(), None, think(failed * 3, [], 1))) == [2, 3]
    blocked = think([], [Block("owner", 1002), Block("server", 3)], 1)
    assert ids(ranking.offers(servers, of(), None, blocked)) == [1]


CONDITIONS = [
    ({"gpu": "4090"}, {"gpu": "RTX 3090"}),
    ({"gpu_count": 1}, {"gpu_count": 2}),
    ({"min_vram_gb": 25}, {"min_vram_gb": 26}),  # 24 of 25 is enough
    ({"min_ram_gb": 64}, {"min_ram_gb": 65}),
    ({"min_disk_gb": 500}, {"min_disk_gb": 501}),
    ({"min_down_mbps": 500}, {"min_down_mbps": 501}),
    ({"min_reliability": 0.9}, {"min_reliability": 0.91}),
    ({"countries": ("us", "se")}, {"countries": ("US",)}),
    ({"min_cuda": "12.4"}, {"min_cuda": "12.5"}),
    ({"min_cuda": "12"}, {"min_cuda": "13"}),
]


@pytest.mark.parametrize(("met", "unmet"), CONDITIONS)
def test_conditions(met, unmet):
    """Bounds are inclusive; a value that the record lacks does not match."""
    assert listing.fits(record(1), of(**met).filter)
    assert not listing.fits(record(1), of(**unmet).filter)
    assert not listing.fits({"id": 1}, of(**unmet).filter)


def lacking(records: list[dict[str, Any]], wish: Wish, balances: Any = None) -> NoMatch:
    models = [MarketplaceServer.model_validate(r) for r in records]
    for each in models:
        each.use_rates(WORTH)
    return no_match.explain(records, models, wish, balances, think([], [], 0))


def test_the_failing_condition_is_named_with_the_matches_without_it():
    records = [record(i) for i in range(1, 4)] + [record(9, specs={"gpu": "1x RTX 3090"})]
    found = lacking(records, of(gpu="RTX 4090", min_ram_gb=512))
    assert found.steps[:3] == (("available_only", 4), ("gpu", 3), ("min_ram_gb", 0))
    assert [(w.names, w.servers) for w in found.without] == [(("min_ram_gb",), 3)]
    said = no_match.sentence(found, {"min_ram_gb": "--min-ram", "gpu": "--gpu"})
    assert said == (
        "No server fits, of 4 (left after each: --gpu: 3, --min-ram: 0). "
        "Without --min-ram: 3 servers, from $0.1050/h."
    )


def test_an_unknown_gpu_is_reported_with_similar_names():
    found = lacking([record(1)], of(gpu="RTZ 4090"))
    assert found.near == ("RTX 4090",)
    assert "No GPU has that name. Similar: RTX 4090." in no_match.sentence(found, {})
    assert lacking([record(1)], of(gpu="RTX 4090", min_ram_gb=512)).near == ()


def test_two_conditions_are_named_if_neither_is_enough_alone():
    found = lacking([record(1)], of(min_ram_gb=512, min_disk_gb=9000))
    assert [w.names for w in found.without] == [("min_ram_gb", "min_disk_gb")]


def test_an_empty_wallet_is_a_condition_too():
    found = lacking([record(1)], of(), {USD: 0.0})
    assert [w.names for w in found.without] == [("balance",)]
    assert "Without what the wallets hold: 1 server" in no_match.sentence(found, {})


@pytest.fixture(scope="module")
def inventory(inventory_file) -> tuple[list[dict[str, Any]], dict[int, MarketplaceServer]]:
    """The 3,500 real servers, as records and as models."""
    records = json.loads(inventory_file.read_text("utf-8"))["servers"]
    models = {r["id"]: MarketplaceServer.model_validate(r) for r in records}
    for each in models.values():
        each.use_rates(WORTH)
    return records, models


bounds = st.fixed_dictionaries(
    {},
    optional={
        "gpu": st.sampled_from(["RTX 4090", "3060", "A100", "rtx  3090", "no such"]),
        "gpu_count": st.integers(1, 12),
        "min_vram_gb": st.floats(1, 80),
        "min_ram_gb": st.floats(1, 600),
        "min_disk_gb": st.floats(1, 2000),
        "min_down_mbps": st.floats(1, 5000),
        "min_reliability": st.floats(0, 1),
        "countries": st.sampled_from([("RU",), ("US", "SE"), ("AQ",)]),
        "min_cuda": st.sampled_from(["11.7", "12", "12.4", "13"]),
        "max_price_usd": st.floats(0.01, 5),
    },
)


@settings(max_examples=6)
@given(words=bounds)
def test_offers_of_the_real_servers_match_or_the_reason_is_named(inventory, words):
    """For any wish, offers match in ascending order; else dropping a named condition helps."""
    records, models = inventory
    wish = of(currency=BTC, **words)
    fitting = [models[r["id"]] for r in records if listing.fits(r, wish.filter)]
    offers = ranking.offers(fitting, wish)
    costs = [o.effective.usd_per_hour for o in offers]
    assert costs == sorted(costs)
    for offer in offers:
        assert offer.server.available
        assert offer.server.allows(BTC)
        assert offer.cost.price.usd_per_hour <= words.get("max_price_usd", 1e9)
    if offers:
        return
    found = no_match.explain(records, models.values(), wish, None, think([], [], 0))
    assert found.seen == len(records)
    assert [count for _, count in found.steps] == sorted((c for _, c in found.steps), reverse=True)
    assert found.steps[-1][1] == 0
    for each in found.without:
        assert each.servers > 0
