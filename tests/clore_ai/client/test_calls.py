"""The ten calls and `wait_for_ssh` against a real marketplace, with one body for both clients."""

from __future__ import annotations

import os
import subprocess

import programs
import pytest

from clore_ai import MarketplaceServer, Order, Wallet
from clore_ai.exceptions import (
    AuthError,
    CloreAPIError,
    FieldError,
    InvalidInputError,
    NotFoundError,
    WaitTimeout,
)
from clore_ai.models import SpotMarket
from clore_sandbox import Sandbox

BOTH_CLIENTS = "soak"


def test_wallets(api):
    """An account has three wallets, as on the service."""
    found = api.wallets()
    assert all(isinstance(w, Wallet) for w in found)
    assert {w.name for w in found} == {"bitcoin", "CLORE-Blockchain", "USD-Blockchain"}
    assert {w.name: w.balance for w in found}["bitcoin"] == 0.01


def test_marketplace_filters_and_converts(api):
    """004's filters apply, prices are USD per hour, and rented servers are omitted by default."""
    everything = api.marketplace(available_only=False)
    free = api.marketplace()
    assert len(everything) > len(free) > 50
    assert all(isinstance(s, MarketplaceServer) and s.available for s in free)
    cheap = api.marketplace("rtx 4090", 1, 8.0, 0.50)
    assert cheap
    for s in cheap:
        assert s.matches_gpu("4090")
        assert s.gpu_count >= 1
        assert s.ram_gb >= 8
        assert 0 < s.price_usd <= 0.50
        assert s.price_usd_per_day == pytest.approx(s.price_usd * 24)


def test_the_unit_of_prices_is_logged_once_a_process(market):
    """0.1.1's prices were per day.

    One log line says so; no warning becomes an error with ``-W error``.
    """
    program = """
import asyncio, logging, sys, warnings
warnings.simplefilter("error")
from clore_ai import AsyncCloreAI, CloreAI
logging.basicConfig()
async def main():
    async with AsyncCloreAI() as client:
        await client.marketplace()
        print("so far", file=sys.stderr)
        await client.marketplace(max_price_usd=0.5)
        await client.marketplace(max_price_usd=0.5)
asyncio.run(main())
with CloreAI() as client:
    client.marketplace(max_price_usd=0.5)
"""
    env = {**os.environ, "CLORE_BASE_URL": market.base_url}
    with programs.start(program, env=env, stderr=subprocess.PIPE) as running:
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (0, "")
    begin, line = err.splitlines()
    assert begin == "so far"
    assert "USD per hour since clore-ai 0.2" in line


def test_marketplace_needs_no_key(api_of, market):
    """Without a key `marketplace` works, and every other call says how to set one (004)."""
    api = api_of(market, api_key=None)
    assert api.marketplace()
    with pytest.raises(AuthError, match="clore config set api_key"):
        api.wallets()


def test_the_whole_inventory(api_of, real_market, real_servers):
    """The client returns all 3,500 servers in the service's order, each with a price or None."""
    api = api_of(real_market)
    found = api.marketplace(available_only=False)
    assert [s.id for s in found] == [record["id"] for record in real_servers]
    assert all(s.price_usd is None or s.price_usd > 0 for s in found)
    free = api.marketplace(max_price_usd=1000)
    assert 1_500 < len(free) <= 1_583
    only = api.marketplace(gpu="4090", available_only=False)
    assert len(only) == sum("4090" in record["specs"]["gpu"] for record in real_servers)


@pytest.fixture(scope="module")
def market_as_is(inventory_file):
    """The captured body, which has no prices in USD."""
    with Sandbox(inventory=inventory_file, as_is=True, provision=False, limits=False) as sandbox:
        yield sandbox


def test_a_list_without_usd_is_priced_with_the_spot_rates(api_of, market_as_is):
    """If a list has no USD prices, the client reads the spot market's rates once and converts."""
    api = api_of(market_as_is)
    found = api.marketplace(max_price_usd=0.5)
    assert len(found) > 1_000
    assert len(api.marketplace()) == 1_583
    assert len(api.entries("spot_marketplace")) == 1


@pytest.mark.parametrize("call", ["marketplace", "rates"])
def test_concurrent_marketplace_calls_share_one_request(call, api_of, market, request):
    """As in 004's example: three filters in one gather. The rates are also read once."""
    api = api_of(request.getfixturevalue("market_as_is") if call == "rates" else market)
    api.fault("marketplace", "late", delay_s=0.5)
    api.fault("spot_marketplace", "late", delay_s=0.5)
    gpus = ("RTX 4090", "A100", "RTX 3090")
    found = api.at_once(*(("marketplace", {"gpu": gpu}) for gpu in gpus))
    for gpu, servers in zip(gpus, found):
        assert all(s.matches_gpu(gpu) for s in servers)
    assert found[0]
    assert found[2]
    assert len(api.entries("marketplace")) == 1
    assert len(api.entries("spot_marketplace")) == (1 if call == "rates" else 0)
    api.marketplace()
    assert len(api.entries("marketplace")) == 2  # later calls send a new request


def test_callers_of_a_shared_request_share_its_error(api_of, market):
    """An error reaches all callers that wait for the request; none waits forever."""
    api = api_of(market, max_retries=0)
    api.fault("marketplace", "html_502", times=None)
    results = api.at_once(*[("marketplace", {})] * 3)
    assert all(isinstance(r, CloreAPIError) and "502" in str(r) for r in results)


def test_a_rental_from_start_to_end(api, server):
    """`create_order` returns a real Order for ``{"code":0}``; once cancelled, it is completed."""
    order = api.rent(server, ports={"22": "tcp"}, env={"A": "b"})
    assert isinstance(order, Order)
    assert (order.server_id, order.currency, order.type) == (server, "bitcoin", "on-demand")
    assert [o.id for o in api.my_orders()] == [order.id]
    assert server not in [s.id for s in api.marketplace()]
    assert api.cancel_order(order.id, issue="done") == {"code": 0}
    assert api.my_orders() == []
    (ended,) = api.my_orders(include_completed=True)
    assert (ended.id, ended.active, ended.status) == (order.id, False, "expired")
    assert len(api.entries("create_order")) == 1
    assert [i.state for i in api.ledger.intents()] == ["created"]


def test_private_images_and_kept_passwords_reach_the_service(api, server):
    """The login of a private image and the choice to keep the password go to the service."""
    api.rent(server, dockerhub_auth="me:hunter22", remember_password=True)
    (sent,) = api.entries("create_order")
    assert sent.acted
    assert {"dockerhub_auth", "remember_password"} <= set(sent.body)


def test_an_order_inside_the_answer_is_used(api_of, reference_market, server_of):
    """If the answer to `create_order` holds the order, the client returns that (002, 004)."""
    api, server = api_of(reference_market), server_of(reference_market)
    order = api.rent(server, ports={"22": "tcp"})
    assert order.server_id == server
    assert [e.endpoint for e in api.entries()] == ["my_orders", "create_order"]
    (listed,) = [o for o in wait_for_orders(api) if o.active]
    assert listed.id == order.id
    assert api.cancel_order(order.id)["code"] == 0
    with pytest.raises(FieldError) as caught:
        api.cancel_order(order.id)
    assert caught.value.error == "order_not_active"


def wait_for_orders(api):
    """The account's orders, as soon as there is one."""
    import time

    deadline = time.monotonic() + 10
    while not (found := api.my_orders()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("dialect", ["live", "reference"])
def test_wait_for_ssh_right_after_create_order(dialect, api_of, own_market, server_of):
    """A real SSH server answers at the order's address as soon as the machine is up."""
    market = own_market(dialect=dialect, visibility_lag_s=0.5, boot_s=0.8)
    api = api_of(market)
    order = api.rent(server_of(market), ssh_password="Secret123", ports={"22": "tcp"})
    ready = api.wait_for_ssh(order.id, timeout=20)
    assert ready.id == order.id
    assert ready.ssh_command.startswith(f"ssh root@{ready.ssh_host} -p {ready.ssh_port} ")
    assert ready.status == "running"
    greeting = subprocess.run(
        ["ssh-keyscan", "-T", "5", "-p", str(ready.ssh_port), ready.ssh_host],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ssh-ed25519" in greeting.stdout
    api.cancel_order(order.id)


def test_wait_for_ssh_times_out_if_the_order_never_boots(api_of, own_market, server_of):
    """WaitTimeout carries the order, which is still billed."""
    market = own_market(boot_s=3600)
    api = api_of(market)
    order = api.rent(server_of(market), ports={"22": "tcp"})
    with pytest.raises(WaitTimeout, match=f"clore cancel {order.id}") as caught:
        api.wait_for_ssh(order.id, timeout=0.5)
    assert caught.value.order.id == order.id


def test_unknown_orders_and_servers(api):
    """The error is one sentence with the next step, and nothing is rented."""
    with pytest.raises(NotFoundError, match="clore orders"):
        api.wait_for_ssh(12345)
    with pytest.raises(FieldError) as caught:
        api.rent(987654321)
    assert caught.value.error == "server-dont-exist"
    with pytest.raises(FieldError):
        api.cancel_order(12345)
    with pytest.raises(FieldError, match="order_dont_exist"):
        api.set_spot_price(12345, 0.1)
    assert api.my_orders() == []


@pytest.mark.parametrize("dialect", ["live", "reference"])
def test_refusals_carry_the_service_s_reason(dialect, api_of, market, reference_market, server_of):
    """The reason is the service's, whatever the HTTP status."""
    market = market if dialect == "live" else reference_market
    api, rival, server = api_of(market), api_of(market), server_of(market)
    theirs = rival.rent(server)
    with pytest.raises(FieldError, match="choose another server") as caught:
        api.rent(server)
    assert caught.value.error == "server-already-rented"
    assert caught.value.status == 200
    with pytest.raises(FieldError, match="allowed_coins") as caught:
        api.rent(server_of(market), currency="dogecoin")
    assert caught.value.error == "currency-not-allowed"
    assert caught.value.status == (500 if dialect == "live" else 200)
    other = market.create_account({"bitcoin": 0})
    poor = api_of(market, api_key=other)
    with pytest.raises(FieldError, match="clore wallets") as caught:
        poor.rent(server_of(market))
    assert caught.value.error == "not_enough_balance"
    with pytest.raises(FieldError, match="you_dont_own_this_order"):
        api.cancel_order(theirs.id)
    assert api.my_orders() == []
    assert [i.state for i in api.ledger.intents()] == ["refused", "refused"]


def test_a_wrong_key(api_of, market):
    """A wrong key raises AuthError with code 3; the message does not repeat the key."""
    api = api_of(market, api_key="wrong-key-wrong-key")
    for call in (api.wallets, api.my_orders, lambda: api.rent(1), lambda: api.cancel_order(1)):
        with pytest.raises(AuthError) as caught:
            call()
        assert caught.value.code == 3
        assert "wrong-key" not in str(caught.value)


def test_spot_market(api, server):
    """The spot market has offers, terms and rates; a bid that cannot be placed is refused."""
    market = api.spot_marketplace(server)
    assert isinstance(market, SpotMarket)
    assert market.currency_rates_in_usd["bitcoin"] > 1000
    assert market.server.min_pricing is not None


def test_a_second_lowering_of_a_bid_is_refused_locally(api, server):
    """The client sends the first two bids and the raise, but no bid that would be refused."""
    coin = "bitcoin"
    least = api.spot_marketplace(server).server.min_pricing[coin]
    order = api.rent(server, type="spot", currency=coin, spot_price=round(least + 5e-6, 8))
    bids = [round(least + n * 1e-7, 8) for n in (45, 40, 39, 60, 59)]
    for bid, taken in zip(bids, (True, False, False, True, False)):
        if taken:
            assert api.set_spot_price(order.id, bid)["code"] == 0
            continue
        with pytest.raises(FieldError) as caught:
            api.set_spot_price(order.id, bid)
        assert caught.value.error == "can_lower_every_600_seconds"
        assert 500 <= caught.value.response["time_to_lowering"] <= 600
    sent = [entry.body["desired_price"] for entry in api.entries("set_spot_price")]
    assert sent == [bids[0], bids[1], bids[3]]  # the first refusal is the service's


def test_hosting_without_servers(api):
    """A user who hosts nothing has no servers, and cannot read or change the settings of one."""
    assert api.my_servers() == []
    with pytest.raises(FieldError, match="clore servers"):
        api.server_config("MyGPU")
    with pytest.raises(FieldError, match="server_dont_exist"):
        api.set_server_settings("MyGPU", mrl=96)
    with pytest.raises(FieldError, match="server_dont_exist"):
        api.set_server_settings("MyGPU", True, 96, 0.0001, 0.00000113)


def test_invalid_input_is_never_sent(api, server):
    """An SSH key that is too long or two http ports cause an error before any request."""
    for wrong in ({"ssh_key": "ssh-rsa " + "A" * 3_072}, {"ports": {"1": "http", "2": "http"}}):
        with pytest.raises(InvalidInputError):
            api.rent(server, **wrong)
    assert api.entries() == []


def test_a_race_for_one_server_has_one_winner(api, server):
    """Of four concurrent calls one gets the order, and the others are refused."""
    order = {"server_id": server, "image": "i", "type": "on-demand", "currency": "bitcoin"}
    results = api.at_once(*[("create_order", order)] * 4)
    won = [r for r in results if isinstance(r, Order)]
    lost = [r for r in results if isinstance(r, FieldError)]
    assert (len(won), len(lost)) == (1, 3)
    assert sum(e.order is not None for e in api.entries("create_order")) == 1


def test_concurrent_calls_with_one_client_ref_make_one_order(api, server):
    """All four calls return the same order, which one request created."""
    order = {"server_id": server, "image": "i", "type": "on-demand", "currency": "bitcoin"}
    results = api.at_once(*[("create_order", {**order, "client_ref": "job"})] * 4)
    assert len({r.id for r in results}) == 1
    assert len(api.entries("create_order")) == 1


def test_concurrent_orders_on_many_servers(api, server_of, market):
    """Each call returns the order of its own server."""
    servers = [server_of(market) for _ in range(4)]
    calls = [
        (
            "create_order",
            {"server_id": s, "image": "i", "type": "on-demand", "currency": "bitcoin"},
        )
        for s in servers
    ]
    results = api.at_once(*calls)
    assert [r.server_id for r in results] == servers
    assert len({r.id for r in results}) == 4


def test_paced_calls_never_exceed_the_rate_limit(api_of, own_market):
    """Calls from many threads or one gather meet no refusal by the limit of 1 a second."""
    api = api_of(own_market(limits=True, provision=False), paced=True)
    results = api.at_once(*[("wallets", {})] * 5)
    assert all(len(r) == 3 for r in results)
    assert [e.code for e in api.entries()] == [0] * 5


def test_close_is_idempotent(api):
    """A call after `close` raises an error instead of hanging."""
    api.close()
    api.close()
    with pytest.raises(RuntimeError, match="closed"):
        api.wallets()
