"""Hosts: how they see their servers, which settings they may make, and how renters see them."""

import json
import os

import pytest

from clore_sandbox.rules import Refusal
from clore_sandbox.rules.hosting import applied, read_settings, settings_of
from clore_sandbox.rules.reputation import rated, reliability
from clore_sandbox.values.money import to_units

OLD = {"name": "MyGPU", "availability": True, "mrl": 96, "on_demand": 0.0001, "spot": 0.00000113}
COINS = ("bitcoin", "CLORE-Blockchain", "USD-Blockchain")
CURRENT = {
    "name": "MyGPU",
    "availability": True,
    "mrl": 24,
    "bitcoin_on_demand": 0.001,
    "bitcoin_spot": 0.0005,
    "CLORE-Blockchain_on_demand": 100,
    "CLORE-Blockchain_spot": 50,
    "USD-Blockchain_on_demand": 2,
    "USD-Blockchain_spot": 1,
    **{f"enabled-{coin}": True for coin in COINS},
    "autoprice": dict.fromkeys(COINS, "usd"),
    "usd_pricing": {coin: {"on_demand": 9, "spot": 4.5} for coin in COINS},
}


@pytest.fixture
def hosted(own_market, renter_of):
    """A market, the client of a host with one server, and a rich renter."""
    market = own_market(provision=False, visibility_lag_s=0, boot_s=0, host_servers=1)
    return market, renter_of(market), renter_of(market, bitcoin=1, **{"USD-Blockchain": 1e4})


def set_up(host, **fields):
    answer = host.post("set_server_settings", **{**OLD, **fields})
    return answer.json()


def config(host, name="MyGPU"):
    answer = host.http.request("GET", "/server_config", json={"server_name": name})
    assert answer.json()["code"] == 0
    return answer.json()["config"]


def listed(client, server):
    servers = client.http.get("/marketplace").json()["servers"]
    return next((s for s in servers if s["id"] == server), None)


def test_the_default_account_hosts_no_server(market, renter_of):
    renter = renter_of(market)
    assert renter.http.get("/my_servers").json() == {"servers": [], "limit": 16, "code": 0}
    assert renter.http.get("/marketplace").json()["my_servers"] == []


def test_a_connected_server_in_the_hosts_list(hosted):
    _, host, renter = hosted
    body = host.http.get("/my_servers").json()
    (row,) = body["servers"]
    assert (body["limit"], body["code"]) == (16, 0)
    assert (row["name"], row["connected"], row["online"]) == ("MyGPU", True, True)
    assert row["visibility"] == "public"
    assert "init_token" not in row
    record = listed(renter, row["id"])
    assert row["pricing"] == record["price"]["on_demand"]
    assert row["min_spot_pricing"] == record["price"]["spot"]
    assert row["specs"] == record["specs"]
    assert host.http.get("/marketplace").json()["my_servers"] == [row["id"]]
    assert renter.http.get("/marketplace").json()["my_servers"] == []
    assert config(host)["id"] == row["id"]


def test_an_unconnected_server_has_a_token_and_no_id(hosted):
    market, host, renter = hosted
    assert market.add_server(None, "new", connected=False) is None
    row = host.http.get("/my_servers").json()["servers"][1]
    assert row["init_token"]
    assert not {"id", "specs"} & set(row)
    assert (row["connected"], row["online"], row["visibility"]) == (False, False, "hidden")
    answer = host.http.request("GET", "/server_config", json={"server_name": "new"}).json()
    assert answer["creation_completed"] is False
    assert not {"id", "specs"} & set(answer["config"])
    assert set_up(host, name="new", on_demand=0.002) == {"code": 0}
    server = market.connect_server(name="new")
    assert listed(renter, server)["price"]["on_demand"]["bitcoin"] == 0.002
    assert host.http.get("/my_servers").json()["servers"][1]["id"] == server
    assert renter.create(server).json() == {"code": 0}


def test_a_server_name_is_unique_and_servers_are_private(hosted):
    market, _, renter = hosted
    with pytest.raises(ValueError, match="MyGPU"):
        market.add_server()
    with pytest.raises(KeyError):
        market.connect_server(name="nothing")
    assert renter.http.get("/my_servers").json()["servers"] == []


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


def row_of(host):
    return host.http.get("/my_servers").json()["servers"][0]


def test_a_hosts_row_as_observed_in_2025(hosted):
    """`rented` is there only while rented, with its end in ms; one price while it follows USD."""
    _, host, renter = hosted
    row = row_of(host)
    assert not {"rented", "remaining_time", "usd_pricing", "autoprice"} & set(row)
    assert (row["gpu_array"], row["gpu_count"]) == (["RTX 4090"], 1)
    assert json.loads(row["oc_gpus"])[0]["core"] == [-1000, 1000]
    assert set_up(host, **CURRENT) == {"code": 0}
    row = row_of(host)
    assert (row["usd_pricing"], row["autoprice"]) == ({"on_demand": 9, "spot": 4.5}, "usd")
    assert renter.create(row["id"]).json() == {"code": 0}
    row = row_of(host)
    assert row["rented"] is True
    (order,) = renter.orders()
    assert row["remaining_time"] // 1000 == order["ct"] + order["mrl"]
    assert config(host)["remaining_time"] == row["remaining_time"]
    renter.cancel(order)
    assert not {"rented", "remaining_time"} & set(row_of(host))


@pytest.fixture
def documented(own_market, renter_of):
    """The host of a server without a price, in the dialect of 002 and 004."""
    market = own_market(provision=False, dialect="reference", host_servers=1)
    market.add_server(None, "new", connected=False)
    return renter_of(market)


def test_a_hosts_row_as_documented_in_004(documented):
    """Every row has an id, and USD prices by coin."""
    assert set_up(documented, **CURRENT) == {"code": 0}
    first, new = documented.http.get("/my_servers").json()["servers"]
    assert first["usd_pricing"] == CURRENT["usd_pricing"]
    assert first["autoprice"] == CURRENT["autoprice"]
    assert (first["gpu_count"], first["allowed_currencies"]) == (1, list(COINS))
    assert (new["id"], new["connected"]) == (0, False)


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


def test_rental_status_and_the_background_job(hosted):
    """0, 1 on the spot market, 2 on demand; the host's own job runs while nobody rents."""
    market, host, renter = hosted
    assert config(host)["background_job"] is None
    market.set_background_job(image="miner", command="mine", env={"POOL": "x"})
    market.set_background_job(image="miner", command="mine --hard")
    job = config(host)["background_job"]
    assert job == {"times_updated": 2, "image": "miner", "command": "mine --hard", "env": {}}
    server, least = config(host)["id"], config(host)["spot_pricing"]["bitcoin"]
    assert config(host)["rental_status"] == 0
    renter.create(server, type="spot", spotprice=least)
    assert config(host)["rental_status"] == 1
    renter.cancel(renter.orders()[0])
    renter.create(server)
    assert config(host)["rental_status"] == 2


def test_a_background_job_runs_between_rentals(own_market, renter_of, tmp_path, wait):
    """It stops when an order begins, returns afterwards, and pauses while the host is offline."""
    market = own_market(host_servers=1, boot_s=0, visibility_lag_s=0)
    host, renter = renter_of(market), renter_of(market, bitcoin=1)
    server, note = config(host)["id"], tmp_path / "note"
    command = f'echo "$WHO $$" > {note}.new; mv {note}.new {note}; exec sleep 600'

    def begins(who):
        wait(note.exists)
        name, process = note.read_text().split()
        note.unlink()
        assert name == who
        return int(process)

    def gone(process):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        return False

    market.set_background_job(image="miner", command=command, env={"WHO": "me"})
    first = begins("me")
    assert renter.create(server).json() == {"code": 0}
    assert gone(first)
    renter.cancel(renter.orders()[0])
    second = begins("me")
    market.set_online(server, False)
    assert gone(second)
    market.set_online(server, True)
    third = begins("me")
    market.set_background_job(image="miner", command=command, env={"WHO": "you"})
    assert gone(third)
    last = begins("you")
    assert not gone(last)
    market.reset()
    assert gone(last)


def test_hosts_earn_what_renters_spend(hosted):
    market, host, renter = hosted
    before = market.wallet()["USD-Blockchain"]
    renter.create(config(host)["id"], currency="USD-Blockchain")
    market.advance(86_400)
    spend = renter.orders()[0]["spend"]
    assert float(market.wallet()["USD-Blockchain"] - before) == pytest.approx(spend, abs=1e-9)
    assert host.http.get("/wallets").json()["wallets"][2]["balance"] > 100


def test_no_cost_while_the_host_is_offline(hosted):
    market, host, renter = hosted
    server = config(host)["id"]
    renter.create(server, currency="USD-Blockchain")
    market.advance(600)
    market.set_online(server, False)
    spend = renter.orders()[0]["spend"]
    market.advance(7200)
    (row,) = renter.orders()
    assert (row["online"], row["spend"]) == (False, spend)
    assert renter.create(server).json()["error"] == "server-offline"
    assert host.http.get("/my_servers").json()["servers"][0]["online"] is False
    assert listed(renter, server) is None
    market.set_online(server, True)
    market.advance(600)
    (row,) = renter.orders()
    assert row["online"]
    assert row["spend"] == pytest.approx(spend * 2, rel=0.15)


class TestReputation:
    def test_reliability_follows_the_time_online(self):
        day = 86_400_000
        assert reliability(1.0, online=True, lasted_ms=day) == 1
        assert reliability(1.0, online=False, lasted_ms=day) == pytest.approx(29 / 30, abs=1e-3)
        assert reliability(0.5, online=True, lasted_ms=30 * day) > 0.8
        assert reliability(0.5, online=False, lasted_ms=0) == 0.5

    def test_a_rating_is_the_mean_of_its_votes(self):
        assert rated({"rating": {"avg": 4, "cnt": 1}}, good=True)["avg"] == 4.5
        assert rated({}, good=False) == {"avg": 1.0, "cnt": 1}

    def test_a_complaint_and_an_outage_show_in_the_marketplace(self, hosted):
        market, host, renter = hosted
        server = config(host)["id"]
        before = listed(renter, server)
        renter.create(server)
        renter.post("cancel_order", id=renter.orders()[0]["id"], issue="the GPU is gone")
        after = listed(renter, server)
        assert after["rating"]["cnt"] == before["rating"]["cnt"] + 1
        assert after["rating"]["avg"] < before["rating"]["avg"]
        for online in (False, True, False, True):
            market.set_online(server, online)
            market.advance(86_400)
        assert listed(renter, server)["reliability"] < before["reliability"] - 0.02
        renter.create(server)
        market.advance(7200)
        renter.cancel(renter.orders()[0])
        assert listed(renter, server)["rating"]["cnt"] == before["rating"]["cnt"] + 2

    def test_a_short_rental_leaves_no_rating(self, hosted):
        _, host, renter = hosted
        server = config(host)["id"]
        before = listed(renter, server)
        renter.create(server)
        renter.cancel(renter.orders()[0])
        assert listed(renter, server) == before


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
