"""The SDK as bidder and as host: the calls of 004, as in its examples."""

import pytest

from clore_ai import CloreAI
from clore_ai.exceptions import FieldError

COIN = "USD-Blockchain"


@pytest.fixture(params=["live", "reference"])
def market(own_market, request):
    return own_market(
        provision=False, visibility_lag_s=0, boot_s=0, dialect=request.param, host_servers=2
    )


@pytest.fixture
def client_of(market):
    made = []

    def make(key):
        client = CloreAI(key, base_url=market.base_url)
        client.rate_limiter.min_interval = client.rate_limiter.create_order_delay = 0.001
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def host(market, client_of):
    return client_of(market.api_key)


@pytest.fixture
def renter(market, client_of):
    return client_of(market.create_account({COIN: 1000, "bitcoin": 1}))


def test_hosting_as_documented_in_004(host):
    """004: my_servers, server_config, set_server_settings and their examples."""
    for server in host.my_servers():
        assert (server.status, server.gpu_count) == ("Online", 1)
        assert "4090" in server.gpu_model
    assert [s.name for s in host.my_servers()] == ["MyGPU", "MyGPU-2"]
    config = host.server_config("MyGPU")
    assert (config.availability, config.mrl, config.name) == (True, 168, "MyGPU")
    assert config.on_demand_price > config.spot_price > 0
    host.set_server_settings(
        name="MyGPU", availability=True, mrl=96, on_demand=0.0001, spot=0.00000113
    )
    after = host.server_config("MyGPU")
    assert (after.mrl, after.pricing["bitcoin"], after.spot_pricing["bitcoin"]) == (
        *(96, 0.0001, 0.00000113),
    )
    host.set_server_settings(name="MyGPU", availability=False)
    assert host.server_config("MyGPU").availability is False
    assert host.my_servers()[0].id not in [s.id for s in host.marketplace(available_only=False)]
    with pytest.raises(FieldError, match="server_dont_exist"):
        host.server_config("nothing")


def test_an_unconnected_server(market, host):
    market.add_server(name="new", connected=False)
    server = host.my_servers()[-1]
    assert (server.id, server.specs, server.status) == (None, None, "Disconnected")
    assert server.init_token
    assert host.server_config("new").connected is False


def test_bidding_as_documented_in_004(market, host, renter, client_of):
    """004: spot_marketplace and set_spot_price, beside an order in the form of 002 and 004."""
    server = host.my_servers()[0].id
    least = renter.spot_marketplace(server_id=server).server.min_pricing[COIN]
    order = renter.create_order(server, "image", "spot", COIN, spot_price=least)
    assert (order.type, order.price) == ("spot", least)
    rival = client_of(market.create_account({COIN: 1000}))
    rival.create_order(server, "image", "spot", COIN, spot_price=least + 1)
    found = renter.spot_marketplace(server_id=server)
    assert found.currency_rates_in_usd["bitcoin"] == 92_000
    mine = next(o for o in found.offers if o.my)
    assert (mine.order_id, mine.price, mine.active) == (order.id, least, False)
    assert found.server.mrl == 168 * 3600
    renter.set_spot_price(order_id=order.id, price=least + 2)
    assert next(o for o in renter.spot_marketplace(server).offers if o.my).active
    with pytest.raises(FieldError) as caught:
        renter.set_spot_price(order_id=order.id, price=least)
    assert caught.value.error == "exceeded_max_step"
    assert caught.value.response["max_step"] > 0
    renter.cancel_order(order.id)
    assert [o.active for o in rival.spot_marketplace(server).offers] == [True]
