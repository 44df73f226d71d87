"""The clients of 0.1.1 with the dialect of 002 and 004: every call, and orders in every state."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Failed

COIN = "bitcoin"
ORDER: dict[str, Any] = {
    "image": "cloreai/ubuntu22.04-cuda12",
    "type": "on-demand",
    "currency": COIN,
    "ssh_password": "Secret123",
    "ports": {"22": "tcp", "8888": "http"},
    "env": {"A": "b"},
}
IN_USD: dict[str, Any] = {
    "autoprice": "usd",
    "usd_pricing": {COIN: {"on_demand": 25, "spot": 20}},
}


def cheapest(api: Any) -> int:
    """A free 4090 with a low price in bitcoin."""
    fit = [s for s in api.marketplace(gpu="RTX 4090") if 0 < s["price_usd"] < 30 and cost(s)]
    number: int = fit[0]["id"]
    return number


def cost(server: dict[str, Any]) -> bool:
    return COIN in server["allowed_coins"] and not server["gigaspot"]


def test_the_market_and_the_account(kind, released_of, market_of, inventory_file):
    """Every server of the sample fleet and of the captured body is read, and filtered."""
    for inventory in (None, inventory_file):
        market = market_of(inventory=inventory)
        api = released_of(market, kind)
        everything = api.marketplace(available_only=False)
        assert len(everything) == (300 if inventory is None else 3500)
        some = api.marketplace(gpu="4090", min_gpu_count=2, min_ram_gb=30, max_price_usd=100)
        assert 0 < len(some) < len(everything)
        assert all(s["available"] and s["gpu_count"] >= 2 for s in some)
        assert {w["name"] for w in api.wallets()} == {COIN, "CLORE-Blockchain", "USD-Blockchain"}


def test_an_order_in_every_state(kind, released_of, market_of):
    """Created, pending, running, paused, expired: each is read as an `Order` of 004's types."""
    market = market_of(boot_s=3600, provision=True, provisioner="process")
    api = released_of(market, kind)
    server = cheapest(api)
    order = api.create_order(server_id=server, **ORDER)
    assert (order["status"], order["type"], order["env"]["A"]) == ("pending", "on-demand", "b")
    (pending,) = api.my_orders()
    assert (pending["id"], pending["status"]) == (order["id"], "pending")
    market.advance(7200)
    (running,) = api.my_orders()
    assert (running["status"], running["pub_cluster"]) == ("running", "127.0.0.1")
    assert running["tcp_ports"]["22"] > 0
    assert running["http_port"] == 8888
    assert isinstance(running["created_at"], str)
    assert api.cancel_order(order_id=order["id"], issue="done")["code"] == 0
    assert api.my_orders() == []
    (ended,) = api.my_orders(include_completed=True)
    assert (ended["id"], ended["status"]) == (order["id"], "expired")


def test_an_outbid_order(kind, released_of, market_of):
    """The auction's offers are read, a bid is raised, and a waiting order is `paused`."""
    market = market_of()
    api = released_of(market, kind)
    rival = api.with_key(market.create_account({COIN: 1}))
    server = cheapest(api)
    least = api.spot_marketplace(server_id=server)["server"]["min_pricing"][COIN]
    bid = {**ORDER, "type": "spot"}
    mine = api.create_order(server_id=server, spot_price=least, **bid)
    theirs = rival.create_order(server_id=server, spot_price=least * 1.1, **bid)
    assert api.my_orders()[0]["status"] == "paused"
    offers = api.spot_marketplace(server_id=server)["offers"]
    assert [(o["order_id"], o["server_id"]) for o in offers] == [
        (theirs["id"], server),
        (mine["id"], server),
    ]
    assert api.set_spot_price(order_id=mine["id"], price=least * 1.2)["code"] == 0
    assert api.my_orders()[0]["status"] == "running"
    assert rival.my_orders()[0]["status"] == "paused"


def test_hosting(kind, released_of, market_of):
    """A server in use, one priced in USD, one that never connected; partial settings."""
    market = market_of(host_servers=2)
    market.add_server(name="new", connected=False)
    api = released_of(market, kind)
    for part in ({"mrl": 48}, {"availability": False}, {"on_demand": 0.0003}, {"spot": 0.0001}):
        assert api.set_server_settings(name="MyGPU", **part)["code"] == 0
    config = api.server_config(server_name="MyGPU")
    assert (config["mrl"], config["visibility"], config["pricing"][COIN]) == (48, "private", 0.0003)
    assert config["on_demand_price"] > config["spot_price"] > 0
    follow_usd(market, "MyGPU-2")
    rows = api.my_servers()
    assert [(r["status"], r["gpu_count"]) for r in rows[:2]] == [("Online", 1), ("Online", 1)]
    assert rows[1]["usd_pricing"][COIN]["on_demand"] == 25
    assert rows[2]["status"] == "Disconnected"
    assert api.server_config(server_name="new")["connected"] is False


def follow_usd(market: Any, name: str) -> None:
    """Make a server's price follow USD, which 0.1.1 can read but not set."""
    import httpx

    fields = {"name": name, f"{COIN}_on_demand": 0.001, f"{COIN}_spot": 0.0005, **IN_USD}
    url, headers = f"{market.base_url}/set_server_settings", {"auth": market.api_key}
    body = {**fields, "availability": True, "mrl": 72}
    assert httpx.post(url, json=body, headers=headers).json()["code"] == 0


@pytest.mark.parametrize("kind", ["sync", "async"], indirect=True)
def test_refusals_raise_its_exceptions(kind, released_of, market_of):
    """Each code has its own class, and the reason is the message."""
    market = market_of()
    api = released_of(market, kind)

    def refused(call: str, of: Any = api, **arguments: Any) -> Failed:
        with pytest.raises(Failed) as caught:
            getattr(of, call)(**arguments)
        return caught.value

    unknown = refused("create_order", server_id=987_654, **ORDER)
    assert (unknown.type, unknown.code, unknown.message) == ("FieldError", 6, "server-dont-exist")
    server = cheapest(api)
    api.create_order(server_id=server, **ORDER)
    assert refused("create_order", server_id=server, **ORDER).message == "server-already-rented"
    coin = refused("create_order", server_id=cheapest(api), **{**ORDER, "currency": "dogecoin"})
    assert coin.message == "currency-not-allowed"
    assert refused("cancel_order", order_id=1).message == "you_dont_own_this_order"
    assert refused("server_config", server_name="nothing").message == "server_dont_exist"
    assert refused("create_order", server_id=server, **{**ORDER, "ports": {"22": "udp"}}).code == 2
    stranger = api.with_key("no-such-key")
    assert refused("wallets", stranger).type == "AuthError"
    assert refused("wallets", api.with_key(None)).message == "API key required for this endpoint"


def test_the_pace(kind, released_of, market_of):
    """Code 5 is its RateLimitError; a retry gets through."""
    market = market_of(limits=True)
    hasty = released_of(market, kind).with_key(market.api_key, max_retries=0)
    hasty.wallets()
    with pytest.raises(Failed) as caught:
        hasty.wallets()
    assert (caught.value.type, caught.value.code) == ("RateLimitError", 5)
    assert hasty.with_key(market.api_key, max_retries=3).wallets()


def test_0_1_1_fails_on_the_live_service(released_of, market_of):
    """There `create_order` rents and then raises, and 0.1.1 can read none of the orders.

    It expects the order in an answer that has none, and 004's types in the rows.
    """
    market = market_of(dialect="live", host_servers=1, provision=True, provisioner="process")
    api = released_of(market)
    assert len(api.marketplace(available_only=False)) > 300
    with pytest.raises(Failed, match="ValidationError"):
        api.create_order(server_id=cheapest(api), **ORDER)
    assert [e.order is not None for e in market.journal() if e.endpoint == "create_order"] == [True]
    with pytest.raises(Failed, match="pub_cluster"):
        api.my_orders()
    assert len(api.my_servers()) == 1
    follow_usd(market, "MyGPU")
    with pytest.raises(Failed, match="usd_pricing"):
        api.my_servers()
