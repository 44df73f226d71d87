"""The settings that hosts may make, and how they show in the marketplace."""

import pytest
from tests.clore_sandbox.api.hosts import COINS, CURRENT, config, listed, set_up

from clore_sandbox.rules import Refusal
from clore_sandbox.rules.hosting import applied, read_settings, settings_of
from clore_sandbox.values.money import to_units


def test_settings_in_the_form_of_004_reach_the_marketplace(hosted):
    """004: MyGPU, 96 hours, 0.0001 and 0.00000113 bitcoin a day."""
    _, host, renter = hosted
    assert set_up(host) == {"code": 0}
    after = config(host)
    assert after["pricing"]["bitcoin"] == 0.0001
    assert after["spot_pricing"]["bitcoin"] == 0.00000113
    record = listed(renter, after["id"])
    assert (record["mrl"], record["price"]["on_demand"]["bitcoin"]) == (96, 0.0001)
    rate = record["price"]["usd"]["on_demand_btc"] / 0.0001
    assert rate == pytest.approx(92_000)
    assert renter.create(after["id"], required_price=0.00009).json()["error"] == "too_low_price"
    assert renter.create(after["id"]).json() == {"code": 0}
    assert renter.orders()[0]["mrl"] == 96 * 3600


def test_the_current_form_prices_in_usd(hosted):
    _, host, renter = hosted
    assert set_up(host, **CURRENT) == {"code": 0}
    record = listed(renter, config(host)["id"])
    assert record["autoprice"] == "usd"
    assert record["price"]["original_usd"] == CURRENT["usd_pricing"]
    assert record["price"]["on_demand"]["USD-Blockchain"] == 9
    assert record["price"]["usd"]["on_demand_btc"] == pytest.approx(9, rel=1e-3)
    assert record["price"]["usd"]["spot"] == 0
    assert config(host)["autoprice"] == dict.fromkeys(COINS, "usd")
    without = {**CURRENT, "autoprice": False, "usd_pricing": None}
    assert set_up(host, **without) == {"code": 0}
    record = listed(renter, config(host)["id"])
    assert record["price"]["on_demand"]["USD-Blockchain"] == 2
    assert "autoprice" not in record
    assert set_up(host, **{**CURRENT, "autoprice": "usd"}) == {"code": 0}
    assert config(host)["autoprice"] == dict.fromkeys(COINS, "usd")


def test_a_disabled_coin_is_refused(hosted):
    _, host, renter = hosted
    assert set_up(host, **{"enabled-bitcoin": False}) == {"code": 0}
    server = config(host)["id"]
    assert "bitcoin" not in listed(renter, server)["allowed_coins"]
    answer = renter.create(server)
    assert (answer.status_code, answer.json()["error"]) == (500, "currency-not-allowed")


def test_a_hidden_server_is_not_offered_and_its_order_goes_on(hosted):
    market, host, renter = hosted
    server = config(host)["id"]
    assert renter.create(server).json() == {"code": 0}
    assert set_up(host, availability=False) == {"code": 0}
    assert listed(renter, server) is None
    assert len(renter.orders()) == 1
    body = renter.http.get("/spot_marketplace", params={"market": server}).json()
    assert body["market"]["server"]["visibility"] == "hidden"
    renter.cancel(renter.orders()[0])
    assert renter.create(server).json()["error"] == "server-dont-exist"
    market.set_online(server, False)
    market.set_online(server, True)
    assert listed(renter, server) is None


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"availability": None}, "not_all_parameters_present"),
        ({"mrl": None}, "not_all_parameters_present"),
        ({"spot": None}, "not_all_parameters_present"),
        ({"on_demand": None}, "not_all_parameters_present"),
        ({"on_demand": None, "spot": None}, "not_all_parameters_present"),
        ({"USD-Blockchain_spot": 3}, "not_all_parameters_present"),
        ({"mrl": 0}, "invalid_mrl"),
        ({"mrl": -5}, "invalid_mrl"),
        ({"mrl": 9000}, "invalid_mrl"),
        ({"mrl": "96"}, "invalid_mrl"),
        ({"mrl": 9.5}, "invalid_mrl"),
        ({"availability": "yes"}, "invalid_input"),
        ({"on_demand": -1}, "invalid_input"),
        ({"on_demand": "0.1"}, "invalid_input"),
        ({"spot": 0}, "invalid_input"),
        ({"spot": 1e300}, "invalid_input"),
        ({"enabled-bitcoin": "on"}, "invalid_input"),
        ({"autoprice": {"doge": "usd"}}, "invalid_input"),
        ({"autoprice": "btc"}, "invalid_input"),
        ({"usd_pricing": {"bitcoin": 5}}, "invalid_input"),
        ({"usd_pricing": {"bitcoin": {"spot": 5}}}, "not_all_parameters_present"),
        ({f"enabled-{coin}": False for coin in COINS}, "invalid_input"),
        ({"name": "another"}, "server_dont_exist"),
    ],
    ids=str,
)
def test_refused_settings_change_nothing(hosted, fields, error):
    _, host, _ = hosted
    before = config(host)
    answer = set_up(host, **fields)
    assert answer == {"error": error, "code": 6}
    assert config(host) == before


@pytest.mark.parametrize(
    ("part", "after"),
    [
        ({"availability": False}, {"visibility": "private"}),
        ({"mrl": 5}, {"mrl": 5, "visibility": "public"}),
        ({"on_demand": 0.0002}, {"mrl": 168}),
        ({"spot": 0.00001}, {}),
        ({}, {}),
    ],
    ids=str,
)
def test_partial_settings_are_merged(documented, part, after):
    """004 sends only changes; all else stays, also the other price of the coin."""
    before = config(documented)
    assert documented.post("set_server_settings", name="MyGPU", **part).json() == {"code": 0}
    expected = {**before, **after}
    for name, field in (("on_demand", "pricing"), ("spot", "spot_pricing")):
        if name in part:
            expected[field] = {**before[field], "bitcoin": part[name]}
    got = config(documented)
    assert {**got, "usd_pricing": None} == {**expected, "usd_pricing": None}


def test_a_server_without_a_price_is_not_offered(documented):
    """Partial settings may leave it without a price, but not make it available then."""
    new = {"name": "new"}
    assert documented.post("set_server_settings", mrl=48, **new).json() == {"code": 0}
    assert config(documented, "new")["mrl"] == 48
    refused = documented.post("set_server_settings", availability=True, **new).json()
    assert refused["error"] == "invalid_input"
    refused = documented.post("set_server_settings", on_demand=0.1, **new).json()
    assert refused["error"] == "not_all_parameters_present"


RATES = {"bitcoin": 100_000.0, "CLORE-Blockchain": 0.01, "USD-Blockchain": 1.0}
RECORD = {
    "id": 1,
    "mrl": 10,
    "allowed_coins": ["bitcoin"],
    "price": {"on_demand": {"bitcoin": 0.001}, "spot": {"bitcoin": 0.0005}},
    "odd": "kept",
}


class TestByHand:
    def read(self, **body):
        known = settings_of(RECORD, available=True)
        return read_settings(body, known, RATES)

    def test_an_omitted_coin_keeps_its_price(self):
        clore = {"CLORE-Blockchain_on_demand": 5, "CLORE-Blockchain_spot": 4}
        settings = self.read(availability=True, mrl=5, **clore)
        assert settings.on_demand == {"bitcoin": 10**9, "CLORE-Blockchain": to_units(5)}
        record = applied(settings, RECORD, RATES)
        assert record["allowed_coins"] == ["bitcoin", "CLORE-Blockchain"]
        assert record["odd"] == "kept"
        assert record["price"]["usd"] == {
            "on_demand_btc": 100,
            "on_demand_clore": 0.05,
            "on_demand_usd": 0.05,
            "spot": 0,
        }

    def test_settings_survive_a_record_and_the_store(self):
        usd = {"bitcoin": {"on_demand": 3, "spot": 2}}
        auto = {"bitcoin": "usd"}
        settings = self.read(availability=True, mrl=5, autoprice=auto, usd_pricing=usd)
        record = applied(settings, RECORD, RATES)
        assert record["price"]["on_demand"] == {"bitcoin": 0.00003}
        assert settings_of(record, available=True) == settings
        assert type(settings).from_json(settings.to_json()) == settings

    def test_an_enabled_coin_needs_its_prices(self):
        refused = self.read(availability=True, mrl=5, **{"enabled-USD-Blockchain": True})
        assert refused == Refusal("not_all_parameters_present")
