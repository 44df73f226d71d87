"""The `CloreClient` of 001 and 002: plain dicts and lists, as safe as the new client."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

import clore_client
from clore_client import CloreAPIError, CloreClient
from clore_sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

ORDER = {"image": "cloreai/ubuntu20.04-jupyter", "ports": {"22": "tcp", "8888": "http"}}
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def market() -> Iterator[Sandbox]:
    """The sample fleet; orders start no machine."""
    with Sandbox(provision=False, limits=False, visibility_lag_s=0.05, boot_s=0.05) as sandbox:
        yield sandbox


@pytest.fixture
def key(market, monkeypatch) -> str:
    """A new account; the environment points at the marketplace."""
    monkeypatch.setenv("CLORE_BASE_URL", market.base_url)
    monkeypatch.setenv("CLORE_REQUESTS_PER_SECOND", "1000000")
    return market.create_account(api_key=f"older-client-{next(_numbers):04}")


@pytest.fixture
def client(key) -> CloreClient:
    it = CloreClient(api_key=key)
    it._api.rate_limiter.create_order_delay = 0
    return it


def entries(market, key, endpoint) -> list[Any]:
    return [e for e in market.journal() if e.key == f"…{key[-4:]}" and e.endpoint == endpoint]


@pytest.fixture
def server(client) -> dict[str, Any]:
    """A free server that costs little bitcoin."""
    return next(
        s
        for s in client.list_servers()
        if not s["rented"]
        and not s.get("gigaspot")
        and "bitcoin" in s["allowed_coins"]
        and 0 < s["price"]["on_demand"].get("bitcoin", 0) < 0.001
    )


def plain(value: object) -> bool:
    """True for a value as json.loads returns it."""
    if isinstance(value, dict):
        return type(value) is dict and all(map(plain, value.values()))
    if isinstance(value, list):
        return type(value) is list and all(map(plain, value))
    return type(value) in (str, int, float, bool, type(None))


def test_every_method_returns_plain_values(client, server):
    """001's seven methods and 002's `get_marketplace` return what the service sends."""
    servers = client.list_servers()
    assert servers == client.get_marketplace()
    assert len(servers) >= 300  # rented servers too
    details = client.get_server_details(server["id"])
    assert {"offers", "server", "currency_rates_in_usd"} <= set(details)
    created = client.create_order(server["id"], **ORDER, ssh_password="SecurePass123")
    orders = client.get_orders()
    assert [o["si"] for o in orders] == [server["id"]]
    assert created == {"code": 0, "order_id": orders[0]["id"]}
    assert client.cancel_order(orders[0]["id"], issue="done")["code"] == 0
    assert client.get_orders() == []
    (ended,) = client.get_orders(include_completed=True)
    assert ended["expired"] is True
    wallets = client.get_wallets()
    assert {w["name"] for w in wallets} == {"bitcoin", "CLORE-Blockchain", "USD-Blockchain"}
    assert client.get_my_servers() == []
    for value in (servers, details, created, orders, ended, wallets):
        assert plain(value)
        json.dumps(value)


def test_required_price_is_passed_on(client, server, market, key):
    """001's workflow passes it, but 001's class lacks the parameter."""
    price = server["price"]["on_demand"]["bitcoin"]
    client.create_order(server["id"], **ORDER, required_price=price)
    (entry,) = entries(market, key, "create_order")
    assert entry.body["required_price"] == price


SIGNATURES = {
    "__init__": ["api_key"],
    "list_servers": [],
    "get_marketplace": [],
    "get_server_details": ["server_id"],
    "create_order": [
        "server_id",
        "image",
        "order_type",
        "currency",
        "spotprice",
        "ports",
        "ssh_password",
        "ssh_key",
        "jupyter_token",
        "env",
        "command",
        "required_price",
    ],
    "get_orders": ["include_completed"],
    "cancel_order": ["order_id", "issue"],
    "get_wallets": [],
    "get_my_servers": [],
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_are_001s(name):
    """The parameters are in 001's order, with its defaults."""
    parameters = list(inspect.signature(getattr(CloreClient, name)).parameters.values())[1:]
    assert [p.name for p in parameters] == SIGNATURES[name]
    defaults = {p.name: p.default for p in parameters}
    if name == "create_order":
        assert (defaults["order_type"], defaults["currency"]) == ("on-demand", "bitcoin")


def test_constants():
    """`BASE_URL` and `ERROR_CODES` exist, the latter on the error as in 001."""
    assert CloreClient.BASE_URL == "https://api.clore.ai/v1"
    assert CloreAPIError.ERROR_CODES[5] == "Rate limit exceeded (1 req/sec)"
    assert set(CloreAPIError.ERROR_CODES) == set(range(7))
    assert CloreClient.ERROR_CODES is CloreAPIError.ERROR_CODES
    assert clore_client.__all__ == ["CloreAPIError", "CloreClient"]


def test_the_key_comes_from_the_environment_too(market, key, monkeypatch):
    """It is used if no argument is given."""
    monkeypatch.setenv("CLORE_API_KEY", key)
    assert len(CloreClient().get_wallets()) == 3


def test_a_subclass_may_name_another_host(market, key, monkeypatch):
    """The constant of 001's class sets the address."""
    monkeypatch.delenv("CLORE_BASE_URL")

    class Local(CloreClient):
        BASE_URL = market.base_url

    assert len(Local(key).get_wallets()) == 3


def test_errors_are_001s(client, key):
    """They have `code`, `error` and 001's message."""
    with pytest.raises(CloreAPIError) as caught:
        client.create_order(987654321, "i")
    assert (caught.value.code, caught.value.error) == (6, "server-dont-exist")
    assert str(caught.value) == "Clore API error 6: Error (see error field): server-dont-exist"
    with pytest.raises(CloreAPIError) as caught:
        CloreClient("no-such-key").get_wallets()
    assert caught.value.code == 3
    assert str(caught.value).startswith("Clore API error 3: Invalid API token")
    with pytest.raises(CloreAPIError) as caught:
        client.create_order(1, "i", ssh_password="x" * 33)
    assert caught.value.code == 2
    assert "32 at most" in str(caught.value)


def test_a_spot_order_needs_a_price(client, market, key):
    """As in 001 a ValueError is raised; nothing is sent."""
    with pytest.raises(ValueError, match="spotprice is required for spot orders"):
        client.create_order(1, "i", order_type="spot")
    assert entries(market, key, "create_order") == []


def test_without_a_key(market, key):
    """Code 3 is raised before any request, with the next step."""
    with pytest.raises(CloreAPIError, match="CLORE_API_KEY") as caught:
        CloreClient().get_wallets()
    assert caught.value.code == 3
    assert CloreClient().list_servers()


@pytest.mark.parametrize("fault", ["act_then_cut", "act_then_500", "truncated_json"])
def test_a_lost_answer_rents_once(fault, client, server, market, key):
    """001's own class would have raised an error, and its retry loop rented again."""
    market.fault("create_order", fault, key=key)
    created = client.create_order(server["id"], **ORDER)
    assert [o["id"] for o in client.get_orders()] == [created["order_id"]]
    assert len(entries(market, key, "create_order")) == 1


def test_an_unusable_answer_is_code_minus_1(client, server, market, key):
    """Without an answer or a list in it the error is a sentence, never a KeyError."""
    market.fault("wallets", "missing_fields", key=key)
    with pytest.raises(CloreAPIError, match="holds no 'wallets'") as caught:
        client.get_wallets()
    assert caught.value.code == -1
    client._api.session.look_for_s = 0.2
    market.fault("create_order", "cut_before", key=key)
    with pytest.raises(CloreAPIError, match="not known whether") as caught:
        client.create_order(server["id"], **ORDER)
    assert caught.value.code == -1


def test_the_key_is_not_in_repr(client, key):
    """It is not in the text of an error either."""
    assert key not in repr(client)
    with contextlib.suppress(CloreAPIError):
        client.cancel_order(1)
    with pytest.raises(CloreAPIError) as caught:
        client.cancel_order(1)
    assert key not in repr(caught.value)


def test_a_new_base_url_and_key_take_effect(client, market):
    """001's users set them on the object; no request goes to the old address."""
    with Sandbox(provision=False, limits=False) as other:
        client.BASE_URL = other.base_url
        client.api_key = other.create_account(api_key="a-key-of-another-place")
        before = len(market.journal())
        assert client.list_servers()
        assert client.get_wallets()
        assert len(market.journal()) == before
        keys = [e.key for e in other.journal() if e.endpoint == "wallets"]
    assert keys == ["…lace"]
