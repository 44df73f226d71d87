"""The sample fleet and the real captured body."""

import json
from collections import Counter

import httpx
import pytest

from clore_sandbox.fleet.inventory import BadInventory, gpu_names, load
from clore_sandbox.fleet.sample import sample_fleet


@pytest.fixture(scope="module")
def fleet():
    return load(None, as_is=False, seed=0).records


def names(record):
    flat = []
    for item in record["gpu_array"]:
        flat += item if isinstance(item, list) else [item]
    return [name.strip() for name in flat]


def test_one_seed_gives_one_fleet(fleet):
    assert load(None, as_is=False, seed=0).records == fleet
    assert load(None, as_is=False, seed=1).records != fleet


def test_the_fleet_has_free_4090s_at_2026_prices(fleet):
    plain = [
        s["price"]["usd"]["on_demand_usd"]
        for s in fleet
        if s["specs"]["gpu"] == "1x NVIDIA GeForce RTX 4090" and not s["rented"]
    ]
    assert len(plain) >= 8
    assert all(5 < price < 14 for price in plain)


def test_the_fleet_is_distributed_like_the_market(fleet):
    assert len(fleet) == 300
    assert 0.4 < sum(s["rented"] for s in fleet) / 300 < 0.65
    countries = Counter(s["specs"]["net"]["cc"] for s in fleet)
    assert countries.most_common(1)[0][0] == "RU"
    assert len({s["specs"]["gpu"].partition("x ")[2] for s in fleet}) > 10
    assert all(s["price"]["usd"]["spot"] == 0 for s in fleet)


def test_autoprice_is_usd_or_absent(fleet):
    """It is never a bool, which breaks a client that declares a text, as 0.1.1 does."""
    said = Counter(s.get("autoprice", "absent") for s in fleet)
    assert set(said) == {"usd", "absent"}
    assert 0.1 < said["usd"] / len(fleet) < 0.3


@pytest.mark.parametrize(
    "odd",
    [
        lambda s: s["gpu_array"][0].startswith(" "),
        lambda s: isinstance(s["gpu_array"][0], list),
        lambda s: "bitcoin" not in s["price"]["on_demand"],
        lambda s: set(s["price"]["on_demand"]) - set(s["allowed_coins"]),
        lambda s: s["specs"]["gpu"] == "6x Mixed GPUs",
        lambda s: s["price"]["spot"].get("bitcoin", 0) > s["price"]["on_demand"].get("bitcoin", 1),
        lambda s: s["reliability"] == 0,
        lambda s: s["price"]["on_demand"].get("bitcoin", 0) > 1000,
        lambda s: isinstance(s["gigaspot"], dict),
        lambda s: s["specs"]["net"]["down"] == 0,
        lambda s: s["specs"]["mb"] == "",
        lambda s: s["specs"]["disk"].startswith(" "),
        lambda s: "partial_gpu_rental" in s,
    ],
)
def test_the_fleet_has_the_markets_oddities(fleet, odd):
    assert any(odd(s) for s in fleet if s["gpu_array"])


def coins(record, what):
    """The names of the coins that have a kind of price, or of those that are allowed."""
    return set(record["allowed_coins"] if what == "allowed" else record["price"][what])


#: True of every captured server, except for a coin that may be missing since 2026.
ALWAYS = {
    "a free 4090 has a price in bitcoin": lambda s: (
        s["rented"] or "4090" not in s["specs"]["gpu"] or "bitcoin" in coins(s, "on_demand")
    ),
    "both kinds of price name the same coins": lambda s: coins(s, "on_demand") == coins(s, "spot"),
    "what is allowed has a price": lambda s: coins(s, "allowed") <= coins(s, "on_demand"),
    "whole prices are whole numbers": lambda s: all(
        not float(p).is_integer() or isinstance(p, int) for p in prices(s)
    ),
    "unrated is 0 of 0": lambda s: (s["rating"]["avg"] == 0) == (s["rating"]["cnt"] == 0),
    "a network is measured both ways or not": lambda s: (
        (s["specs"]["net"]["down"] == 0) == (s["specs"]["net"]["up"] == 0)
    ),
    "a disk has a size": lambda s: s["specs"]["disk"].endswith("GB"),
    "oc is true or absent": lambda s: s.get("oc", True) is True,
    "one power limit a GPU": lambda s: (
        len(s["specs"]["pl"]) == int(s["specs"]["gpu"].partition("x ")[0])
    ),
}
#: Habits of a share of the servers.
OFTEN = {
    "takes bitcoin alone": lambda s: coins(s, "allowed") - {"USD-Blockchain"} == {"bitcoin"},
    "takes CLORE alone": lambda s: coins(s, "allowed") - {"USD-Blockchain"} == {"CLORE-Blockchain"},
    "has no price in CLORE": lambda s: "CLORE-Blockchain" not in coins(s, "on_demand"),
    "is unrated": lambda s: s["rating"]["cnt"] == 0,
    "has a disk without a name": lambda s: s["specs"]["disk"].startswith(" "),
    "has a disk with x20 for a space": lambda s: "x20" in s["specs"]["disk"],
    "is overclocked": lambda s: s.get("oc", False),
}


def prices(record):
    return [p for kind in ("on_demand", "spot") for p in record["price"][kind].values()]


@pytest.mark.parametrize("habit", ALWAYS)
@pytest.mark.parametrize("seed", range(4))
def test_the_fleet_keeps_the_markets_habits(habit, seed):
    """Whatever the seed."""
    records = load(None, as_is=False, seed=seed).records
    assert [s for s in records if not ALWAYS[habit](s)] == []


def test_the_captured_body_has_these_habits(captured):
    """The real servers meet the fleet's rules too, except for a few of 3,500."""
    records = json.loads(captured.read_text())["servers"]
    odd = {habit: sum(not keeps(s) for s in records) for habit, keeps in ALWAYS.items()}
    assert {habit: count for habit, count in odd.items() if count} == {
        "a network is measured both ways or not": 10,
        "one power limit a GPU": 13,
    }


@pytest.fixture(scope="module")
def both_fleets(captured):
    """The real servers, and 1,000 of the sample."""
    return json.loads(captured.read_text())["servers"], sample_fleet(0, 1_000)


@pytest.mark.parametrize("habit", OFTEN)
def test_the_fleet_has_each_habit_about_as_often(habit, both_fleets):
    """The share differs by no more than 8 % of the servers."""
    theirs, ours = (sum(map(OFTEN[habit], rs)) / len(rs) for rs in both_fleets)
    assert ours == pytest.approx(theirs, abs=0.08)


def test_an_auto_priced_server_shows_the_price_it_follows(fleet):
    """`original_usd` is there for each coin, and the coins' prices are worth the same."""
    auto = [s for s in fleet if "autoprice" in s]
    assert len(auto) > 30
    for server in auto:
        price = server["price"]
        assert set(price["original_usd"]) == coins(server, "on_demand") - {"USD-Blockchain"}
        for coin, usd in price["original_usd"].items():
            name = {"bitcoin": "on_demand_btc"}.get(coin, "on_demand_clore")
            assert price["usd"][name] == pytest.approx(usd["on_demand"], rel=0.02)
    assert all("original_usd" not in s["price"] for s in fleet if "autoprice" not in s)


def test_gpu_names():
    assert (
        gpu_names({"specs": {"gpu": "2x NVIDIA GeForce RTX 3090"}})
        == ["NVIDIA GeForce RTX 3090"] * 2
    )
    assert gpu_names({"specs": {"gpu": "Tesla P40"}}) == ["Tesla P40"]
    assert gpu_names({}) == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"servers": {}},
        {"servers": [1]},
        {"servers": [{"id": "1"}]},
        {"servers": [{"id": 1}] * 2},
    ],
)
def test_an_invalid_marketplace_body_is_refused(body):
    with pytest.raises(BadInventory):
        load(body, as_is=False, seed=0)


def test_missing_files_and_files_without_json(tmp_path):
    with pytest.raises(BadInventory, match="cannot read"):
        load(tmp_path / "none.json", as_is=False, seed=0)
    (tmp_path / "bad.json").write_text("<html>")
    with pytest.raises(BadInventory, match="not JSON"):
        load(tmp_path / "bad.json", as_is=False, seed=0)


def test_a_captured_2026_body_keeps_its_fields_and_gives_its_rates():
    record = {
        "id": 9,
        "mrl": 10,
        "allowed_coins": ["bitcoin"],
        "gpu_array": [[" RTX 3090"]],
        "rented": True,
        "price": {"on_demand": {"bitcoin": 0.0001}, "usd": {"on_demand_btc": 11.0, "spot": 0}},
    }
    inventory = load({"servers": [record]}, as_is=False, seed=0)
    assert inventory.records == [record]
    assert inventory.rates["bitcoin"] == pytest.approx(110_000)


def test_the_real_body_is_served_in_todays_form(captured, own_market):
    market = own_market(inventory=captured, provision=False)
    before = {s["id"]: s for s in json.loads(captured.read_text())["servers"]}
    body = httpx.get(f"{market.base_url}/marketplace").json()
    assert (len(body["servers"]), body["code"]) == (3500, 0)
    usd = 0
    for server in body["servers"]:
        old = before.pop(server["id"])
        for field in set(old) - {"price", "allowed_coins"}:
            assert server[field] == old[field]
        for tier in ("on_demand", "spot"):
            coins = server["price"][tier]
            assert {c: p for c, p in coins.items() if c != "USD-Blockchain"} == old["price"][tier]
        assert len(names(server)) == int(server["specs"]["gpu"].partition("x")[0])
        assert server["price"]["usd"]["spot"] == 0
        payable = [c for c in old["price"]["on_demand"] if c in old["allowed_coins"]]
        assert ("on_demand_usd" in server["price"]["usd"]) >= bool(payable)
        usd += "USD-Blockchain" in server["price"]["on_demand"]
    assert not before
    assert 0.5 < usd / 3500 < 0.6
    assert 1.5 < median_usd(body, "1x NVIDIA GeForce RTX 3090") < 6
    assert 4 < median_usd(body, "1x NVIDIA GeForce RTX 4090") < 12


def median_usd(body, gpu):
    from statistics import median

    return median(
        s["price"]["usd"]["on_demand_usd"] for s in body["servers"] if s["specs"]["gpu"] == gpu
    )


def test_as_is_leaves_the_real_body_unchanged(captured, own_market):
    market = own_market(inventory=captured, as_is=True, provision=False)
    assert httpx.get(f"{market.base_url}/marketplace").json() == json.loads(captured.read_text())


def test_every_free_real_server_can_be_rented_with_bitcoin(captured, own_market, renter_of):
    """create_order rents any of the 3,500 servers, or refuses it for a reason in its record."""
    market = own_market(inventory=captured, provision=False)
    renter = renter_of(market, bitcoin=9_000_000)
    wrong = []
    servers = renter.http.get("/marketplace").json()["servers"]
    for server in servers[::29]:
        answer = renter.create(server["id"]).json()
        if server["rented"]:
            expected = "server-already-rented"
        elif "bitcoin" in server["allowed_coins"] and "bitcoin" in server["price"]["on_demand"]:
            expected = None
        else:
            expected = "currency-not-allowed"
        if answer.get("error") != expected:
            wrong.append((server["id"], answer))
    assert wrong == []


def test_gzip_and_plain_are_equal_and_follow_the_market(market, renter):
    def both():
        url = f"{market.base_url}/marketplace"
        plain = httpx.get(url, headers={"accept-encoding": "identity"})
        packed = httpx.get(url, headers={"accept-encoding": "gzip"})
        assert "content-encoding" not in plain.headers
        assert packed.headers["content-encoding"] == "gzip"
        assert plain.json() == packed.json()
        return {s["id"]: s["rented"] for s in plain.json()["servers"]}

    server = renter.free()[0]["id"]
    assert both()[server] is False
    market.set_rented(server, True)
    assert both()[server] is True
    market.set_rented(server, False)
    assert both()[server] is False
    with pytest.raises(KeyError):
        market.set_rented(1, True)
