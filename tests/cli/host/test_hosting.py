"""`clore servers`, `server-config` and `spot` for hosts, in both dialects."""

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
    """A marketplace whose first account hosts a USD-priced server and one not connected yet."""
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
    """Another account rents the server for the 72 hours that it allows."""
    with CloreAI(market.create_account({"bitcoin": 1}), market.base_url) as renter:
        renter.create_order(server, "image", "on-demand", "bitcoin")


def test_servers_show_usd_prices_and_the_time_left(host, market):
    """`servers` shows each price in USD, whatever its form, and how long a rental still lasts.

    A server that has not connected shows no numbers.
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


def test_server_config_shows_usd_per_day_and_the_longest_rental(host, market):
    """`server-config` shows USD per day, and the longest rental as a length of time."""
    first = host("servers", "--json").data[0]["id"]
    rent(market, first)
    shown = host("server-config", "MyGPU").out
    assert "$25.00/day" in shown
    assert "$20.00/day" in shown
    assert "2d 23h" in shown
    assert host("server-config", "MyGPU", "--json").data["rental_end"].endswith("Z")


def test_the_spot_market_shows_the_longest_rental(host):
    """The spot market gives `mrl` in seconds; the table shows it as a length of time."""
    first = host("servers", "--json").data[0]["id"]
    assert "Longest rental: 3d" in host("spot", first).err
