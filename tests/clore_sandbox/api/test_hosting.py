"""Hosts: how they see their servers, what they earn, and how renters rate them."""

import json
import os

import pytest
from tests.clore_sandbox.api.hosts import COINS, CURRENT, config, listed, row_of, set_up

from clore_sandbox.rules.reputation import rated, reliability


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


def test_a_hosts_row_as_documented_in_004(documented):
    """Every row has an id, and USD prices by coin."""
    assert set_up(documented, **CURRENT) == {"code": 0}
    first, new = documented.http.get("/my_servers").json()["servers"]
    assert first["usd_pricing"] == CURRENT["usd_pricing"]
    assert first["autoprice"] == CURRENT["autoprice"]
    assert (first["gpu_count"], first["allowed_currencies"]) == (1, list(COINS))
    assert (new["id"], new["connected"]) == (0, False)


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
