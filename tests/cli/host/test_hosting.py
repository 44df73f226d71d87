"""`clore servers`, `server-config` and `spot`, for hosts and in both dialects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from tests.cli.conftest import environment
from tests.cli.driver import Clore

from clore_ai import CloreAI
from clore_sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IN_USD: dict[str, Any] = {
    "name": "MyGPU",
    "availability": True,
    "mrl": 72,
    "bitcoin_on_demand": 0.001,
    "bitcoin_spot": 0.0005,
    "autoprice": "usd",
    "usd_pricing": {"bitcoin": {"on_demand": 25, "spot": 20}},
}


@pytest.fixture(params=["live", "reference"])
def market(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """One whose first account hosts a server that is priced in USD, and one not yet connected."""
    options: dict[str, Any] = {"limits": False, "visibility_lag_s": 0, "boot_s": 0}
    with Sandbox(provision=False, dialect=request.param, host_servers=1, **options) as sandbox:
        sandbox.add_server(name="new", connected=False)
        url, headers = f"{sandbox.base_url}/set_server_settings", {"auth": sandbox.api_key}
        assert httpx.post(url, json=IN_USD, headers=headers).json()["code"] == 0
        yield sandbox


@pytest.fixture
def host(market: Sandbox, tmp_path: Path) -> Clore:
    home = tmp_path / ".clore"
    env = environment(
        home,
        CLORE_BASE_URL=market.base_url,
        CLORE_API_KEY=market.api_key,
        CLORE_REQUESTS_PER_SECOND="1000",
    )
    return Clore(home, env, market.api_key)


def rent(market: Sandbox, server: int) -> None:
    """Somebody rents it for the 72 hours that it allows."""
    with CloreAI(market.create_account({"bitcoin": 1}), market.base_url) as renter:
        renter.create_order(server, "image", "on-demand", "bitcoin")


def test_servers_and_their_rentals(host, market):
    """A price in USD, whatever form it has, and how long a rental still lasts.

    No number is shown of a server that has not connected.
    """
    first, new = host("servers", "--json").data
    assert {p["on_demand"] for p in first["usd_pricing"].values()} == {25}
    assert (first["rental_end"], first["rented"]) == (None, None)
    assert (new["id"], new["status"]) == (None, "Disconnected")
    rent(market, first["id"])
    done = host("servers", COLUMNS="200")
    connected, unconnected = done.out.splitlines()[1:3]
    assert "2d 23h" in connected
    assert "25.00" in connected
    assert unconnected.split()[:2] == ["-", "new"]
    assert done.err == ""
    (rented, _) = host("servers", "--json").data
    assert rented["rented"] is True
    assert rented["rental_end"].endswith("Z")


def test_a_servers_settings(host, market):
    """`server-config` shows USD per day and the end of a rental as a length."""
    first = host("servers", "--json").data[0]["id"]
    rent(market, first)
    shown = host("server-config", "MyGPU").out
    assert "$25.00/day" in shown
    assert "$20.00/day" in shown
    assert "2d 23h" in shown
    assert host("server-config", "MyGPU", "--json").data["rental_end"].endswith("Z")


def test_the_spot_market_says_how_long_a_rental_may_last(host):
    """`mrl` is in seconds there."""
    first = host("servers", "--json").data[0]["id"]
    assert "Longest rental: 3d" in host("spot", first).err
