"""Which servers match, and what they cost in USD (service.md, 2-3)."""

from __future__ import annotations

import time

import pytest
from by_hand import Hand, ok, reply

from clore_ai._api.steps import Rules
from clore_ai.models.price import Rates
from clore_ai.rental.market.listing import Filter, disk_gb, fits, marketplace, near
from clore_ai.rental.market.rates import implied
from clore_ai.rental.session import Session

BTC, CLORE, USD = "bitcoin", "CLORE-Blockchain", "USD-Blockchain"


def server(server_id: int = 1, **changes: object) -> dict:
    return {
        "id": server_id,
        "rented": False,
        "allowed_coins": [BTC],
        "price": {"on_demand": {BTC: 0.0001}},
        "specs": {"gpu": "2x NVIDIA GeForce RTX 4090", "ram": 64.0},
        **changes,
    }


def spot(bitcoin: float, clore: float = 0.005):
    return ok(market={"currency_rates_in_usd": {BTC: bitcoin, CLORE: clore}})


def pick(records: list, wanted: Filter = Filter(), session=None, market=None, key=True):  # noqa: B008
    """The selection, and the paths that were requested."""

    def answers(call, _now):
        return ok(servers=records) if call.path == "marketplace" else market or spot(bitcoin=1e5)

    hand = Hand(answers)
    session = session or Session(Rules(has_key=key))
    return hand.play(marketplace(session, wanted)), hand


def test_suggestions_for_an_unknown_gpu(real_servers):
    """GPUs with similar names; if there are none, those with the most memory."""
    assert near(real_servers, Filter(gpu="RTX 4080 Tu"))[0] == "RTX 4080"
    large = near(real_servers, Filter(gpu="a100"))
    assert len(large) == 3
    assert not any("x NVIDIA" in name or "Mixed" in name for name in large)
    least = min(
        max(r["specs"]["gpuram"] for r in real_servers if name in r["specs"]["gpu"])
        for name in large
    )
    assert least >= 24
    assert near(real_servers, Filter(gpu="RTX 4090", id=-1)) == ()
    odd = [server(specs={"gpu": "2x Mixed GPUs", "gpuram": "much"}), server(specs=None)]
    assert near(odd, Filter(gpu="a100")) == ()


@pytest.mark.parametrize(
    ("text", "gb"),
    [
        (" 456.6086769104004GB", 456.6086769104004),
        ("NVMe disk 338.6962890625GB", 338.6962890625),
        ("SSD 128GB 40.8818359375GB", 40.8818359375),
        ("SPCCx20Solidx20Statex 96.8613GB", 96.8613),
        ("OSCx20SSDx2016GBx20x 1.0205GB", 1.0205),
        ("KINGSTONx20SNS4151S31x2096.5GB", 96.5),
        ("1000 0.3096GB", 0.3096),
        ("NVMe 1.8190002441406250TB", 1819.000244140625),
        ("NVMe 1.5 TiB ", 1500),
        ("flash 750MB", 0.75),
        ("5000000000000GB", 5e12),
        ("500", 500),
        (" 96.5 ", 96.5),
        (500, 500),
        ("Samsung SSD 850", None),
        ("NVMe 1.2.3GB", None),
        ("NVMe 1,500GB", None),
        (f"NVMe {'9' * 400}GB", None),
        ("GB", None),
        ("", None),
        (None, None),
    ],
)
def test_the_size_of_a_disk(text, gb):
    """The whole number at the end of the text, however many digits it has."""
    assert disk_gb(text) == (None if gb is None else pytest.approx(gb))


def test_sizes_of_real_disks(real_servers):
    """Each of 3,500 real servers has the size in the last word of its text."""
    for record in real_servers:
        text = record["specs"]["disk"]
        assert disk_gb(text) == float(text.split()[-1].removesuffix("GB")), text
    large = [r for r in real_servers if fits(r, Filter(min_disk_gb=1e5, available_only=False))]
    assert large == []


@pytest.mark.parametrize("text", ["9" * 50_000, "1 " * 25_000, "1." * 25_000, "1" + " " * 50_000])
def test_a_huge_text_is_parsed_at_once(text):
    """The time does not grow with the square of a stranger's text."""
    begun = time.process_time()
    disk_gb(f"NVMe {text}!")
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    ("wanted", "specs", "array", "expected"),
    [
        ("RTX 4090", "1x NVIDIA GeForce RTX 4090", None, True),
        ("rtx  4090 ", "1x NVIDIA GeForce RTX 4090", None, True),
        ("geforce", "1x NVIDIA GeForce RTX 4090", None, True),
        ("3090", "6x Mixed GPUs", [" RTX 3090", " RTX 4090"], True),
        ("3090", "6x Mixed GPUs", [[" RTX 3090"], [[" RTX 4090"]]], True),
        ("A100", "1x NVIDIA GeForce RTX 4090", [" RTX 4090"], False),
        ("4090", None, None, False),
        ("4090", 4090, "RTX 4090", False),
        ("4090", {}, {"RTX 4090": 1}, False),
    ],
)
def test_gpu_matches_part_of_either_name(wanted, specs, array, expected):
    """Case is ignored in `specs.gpu` and in the flattened, stripped `gpu_array`."""
    record = server(specs={"gpu": specs}, gpu_array=array)
    assert fits(record, Filter(gpu=wanted)) is expected


@pytest.mark.parametrize(
    ("specs", "array", "count"),
    [
        ("8x NVIDIA GeForce RTX 3090", None, 8),
        ("8x NVIDIA GeForce RTX 3090", [], 8),
        ("8x NVIDIA GeForce RTX 3090", [" RTX 3090"], 1),
        ("1x NVIDIA", [[" a", " b"], " c"], 3),
        (" 12X  P106", None, 12),
        ("NVIDIA 8x", None, 0),
        (None, None, 0),
        (8, 8, 0),
        ("9" * 5000 + "x GPU", None, 0),
    ],
)
def test_gpus_are_counted_by_array_then_by_prefix(specs, array, count):
    """`gpu_array` decides; else the ``8x`` at the start of `specs.gpu` (service.md, 3)."""
    record = server(specs={"gpu": specs}, gpu_array=array)
    assert fits(record, Filter(min_gpu_count=count))
    assert not fits(record, Filter(min_gpu_count=count + 1))


def test_ram_and_availability():
    """RAM in GB is inclusive, and unknown RAM does not match; rented servers are optional."""
    assert fits(server(), Filter(min_ram_gb=64))
    assert not fits(server(), Filter(min_ram_gb=64.1))
    assert not fits(server(specs=None), Filter(min_ram_gb=1))
    assert not fits(server(specs={"ram": "64"}), Filter(min_ram_gb=1))
    assert not fits(server(rented=True), Filter())
    assert fits(server(rented=True), Filter(available_only=False))
    assert fits(server(rented=None), Filter())


@pytest.mark.parametrize("odd", [None, 1, "x", [], [1], {}, True, 1e999])
def test_odd_records_do_not_stop_the_filter(odd):
    """One odd server among thousands never costs the whole answer."""
    records = [server(specs=odd, gpu_array=odd, price=odd, rented=odd), server(2)]
    found, _ = pick(records, Filter("4090", 2, 1, 1, available_only=False))
    assert [s.id for s in found.servers] == [2]
    assert pick(records)[0].seen == 2


def test_price_usd_is_per_hour_inclusive():
    """004's `max_price_usd` is USD per hour; the API's prices are per day (service.md, 2)."""
    usd = server(allowed_coins=[USD], price={"on_demand": {USD: 24.0}})
    (found,) = pick([usd], Filter(max_price_usd=1.0))[0].servers
    assert (found.price_usd, found.price_usd_per_hour, found.price_usd_per_day) == (1, 1, 24)
    assert pick([usd], Filter(max_price_usd=0.99))[0].servers == []


def test_allowed_coins_decide():
    """A price in a coin that the host does not accept cannot be paid."""
    prices = {"on_demand": {BTC: 1.0, USD: 2.4}, "usd": {"on_demand_btc": 48.0}}
    (only_btc,) = pick([server(price=prices)])[0].servers
    assert only_btc.price_usd == 2
    assert only_btc.price_per_day(USD) is None
    (only_usd,) = pick([server(price=prices, allowed_coins=[USD])])[0].servers
    assert only_usd.price_usd_per_day == 2.4
    (none,) = pick([server(price=prices, allowed_coins=[])])[0].servers
    assert none.price_usd is None
    (unsaid,) = pick([server(price=prices, allowed_coins=None)])[0].servers
    assert unsaid.price_usd_per_day == 2.4


def test_the_price_is_in_usd_else_the_cheapest_coin():
    """The coins of one server can differ a lot in USD value."""
    prices = {
        "on_demand": {BTC: 1.0, CLORE: 100.0},
        "usd": {"on_demand_btc": 48.0, "on_demand_clore": 24.0},
    }
    (found,) = pick([server(price=prices, allowed_coins=[BTC, CLORE])])[0].servers
    assert found.price_usd == 1
    assert found.usd_per_day() == {BTC: 48, CLORE: 24}


def test_the_conversion_of_the_service_is_the_last_resort():
    """004 reads `price.usd.on_demand_usd`, which decides only if no coin has a price."""
    (found,) = pick([server(price={"usd": {"on_demand_usd": 24}}, allowed_coins=None)])[0].servers
    assert found.price_usd == 1
    (barred,) = pick([server(price={"usd": {"on_demand_usd": 24}})])[0].servers
    assert barred.price_usd is None


def test_usd_spot_of_0_is_unknown():
    """It was 0 in every sample: it is derived from the coin's price and rate, else None."""
    prices = {
        "on_demand": {BTC: 1.0},
        "spot": {BTC: 0.5},
        "usd": {"on_demand_btc": 48.0, "spot": 0},
    }
    (found,) = pick([server(price=prices)])[0].servers
    assert (found.spot_price_usd, found.spot_price_usd_per_day) == (1, 24)
    (given,) = pick([server(price={**prices, "usd": {"spot": 48}})])[0].servers
    assert given.spot_price_usd == 2
    (unknown,) = pick([server(price={"usd": {"spot": 0}})])[0].servers
    assert unknown.spot_price_usd is None


def test_servers_with_an_unknown_price_are_dropped_and_counted():
    """A price filter drops such servers and reports their number."""
    records = [server(1), server(2, price=None), server(3, allowed_coins=[])]
    selection, _ = pick(records, Filter(max_price_usd=1))
    assert ([s.id for s in selection.servers], selection.unpriced, selection.seen) == ([1], 2, 3)
    everything, _ = pick(records)
    assert (len(everything.servers), everything.unpriced) == (3, 0)


def test_rates_are_implied_by_the_other_servers():
    """A record without USD gets the median rate of the others, without another request."""
    rated = [
        server(n, price={"on_demand": {BTC: 1.0}, "usd": {"on_demand_btc": rate}})
        for n, rate in enumerate([48.0, 49.0, 5000.0], start=2)
    ]
    selection, hand = pick([server(1, price={"on_demand": {BTC: 2.0}}), *rated])
    assert selection.servers[0].price_usd_per_day == 98
    assert hand.paths == ["marketplace"]


def test_implied_rates_ignore_invalid_numbers():
    """Zeros, strings and infinities say nothing about a coin."""
    odd = [0, None, "1", True, 1e999, -0.0, 10**400, [], {}]
    records = [{"price": {"on_demand": {BTC: o}, "usd": {"on_demand_btc": 5}}} for o in odd]
    records += [{"price": {"on_demand": {BTC: 5}, "usd": {"on_demand_btc": o}}} for o in odd]
    records += [{"price": o} for o in odd] + [{"price": {"usd": o, "on_demand": o}} for o in odd]
    assert implied(records).get(BTC, 0) in (0, 5 / 1e999)
    good = {"price": {"on_demand": {BTC: 0.5}, "usd": {"on_demand_btc": 50}}}
    assert implied([good]) == {BTC: 100}


def test_rates_are_read_if_no_server_implies_them():
    """They come from `currency_rates_in_usd` of any server's spot market."""
    selection, hand = pick([server()], Filter(max_price_usd=1), market=spot(bitcoin=120_000))
    assert [s.price_usd for s in selection.servers] == [0.5]
    assert hand.paths == ["marketplace", "spot_marketplace"]
    assert "rates" in hand.shared


def test_rates_are_read_for_a_missing_coin():
    """The rate of one coin says nothing about another."""
    implied = server(1, price={"on_demand": {BTC: 1.0}, "usd": {"on_demand_btc": 48.0}})
    other = server(2, price={"on_demand": {CLORE: 24.0}}, allowed_coins=[CLORE])
    selection, hand = pick([implied, other], market=spot(bitcoin=7, clore=1))
    assert [s.price_usd for s in selection.servers] == [2, 1]
    assert hand.paths == ["marketplace", "spot_marketplace"]


def test_rates_are_cached_for_five_minutes():
    """Then they are read again."""
    session = Session()
    hand = Hand(
        lambda c, _n: ok(servers=[server()]) if c.path == "marketplace" else spot(bitcoin=1)
    )
    for hand.now in (0.0, 1.0, 299.0, 301.0, 302.0):
        hand.play(marketplace(session, Filter()))
    assert hand.paths.count("spot_marketplace") == 2


def test_rates_are_never_read_without_a_key():
    """The spot market needs a key; without one the price is unknown."""
    selection, hand = pick([server()], key=False)
    assert selection.servers[0].price_usd is None
    assert hand.paths == ["marketplace"]


def test_a_failed_read_of_rates_affects_nothing_else():
    """The price stays unknown; old rates are better than none."""
    failing = reply({"code": 6, "error": "x"})
    selection, _ = pick([server()], market=failing)
    assert selection.servers[0].price_usd is None
    session = Session(rates=Rates({BTC: 240_000.0}, asked_at=-1000.0))
    selection, _ = pick([server()], session=session, market=failing)
    assert selection.servers[0].price_usd == 1


def test_rates_are_read_only_if_a_price_needs_them():
    """A caller never waits for a request that changes nothing."""
    _, hand = pick([server(price={"on_demand": {USD: 1.0}}, allowed_coins=[USD])])
    assert hand.paths == ["marketplace"]
    _, hand = pick([server()], Filter(gpu="A100"))
    assert hand.paths == ["marketplace"]
    _, hand = pick([])
    assert hand.paths == ["marketplace"]


def test_the_whole_marketplace_is_one_shared_request():
    """Concurrent callers get the same answer."""
    assert pick([server()])[1].shared[0] == "marketplace"
