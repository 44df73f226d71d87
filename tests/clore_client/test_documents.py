"""The programs in 001's text run unchanged against the real inventory."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import places
import programs
import pytest

from clore_sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IN_THE_TEXT = "YOUR_API_KEY"
"""The key that most programs of 001 have written in them."""


@pytest.fixture(scope="session")
def document() -> str:
    path = places.document("001")
    if path is None:
        pytest.skip("no document 001: set CLORE_DOCUMENTS to their folder")
    return path.read_text("utf-8")


@pytest.fixture(scope="module")
def kept_market(inventory_file: Path) -> Iterator[Sandbox]:
    """The 3,500 real servers, with the service's own limits."""
    with Sandbox(
        inventory=inventory_file,
        api_key=IN_THE_TEXT,
        provision=False,
        visibility_lag_s=0.2,
        boot_s=0.2,
    ) as sandbox:
        yield sandbox


@pytest.fixture
def market(kept_market: Sandbox) -> Sandbox:
    """The same marketplace, as new."""
    kept_market.reset()
    return kept_market


def program(document: str, heading: str) -> str:
    """The first Python program below a heading."""
    below = document[document.index(heading) :]
    found = re.search(r"```python\n(.*?)```", below, re.DOTALL)
    assert found is not None
    return found[1]


def settings(market: Sandbox) -> dict[str, str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CLORE_")}
    return environment | {
        "CLORE_BASE_URL": market.base_url,
        "CLORE_API_KEY": market.api_key,
        "CLORE_HOME": "/nonexistent",
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
    }


def run(text: str, market: Sandbox) -> str:
    strict = "import warnings\nwarnings.simplefilter('error')\n"
    with programs.start(strict + text, env=settings(market), stderr=subprocess.PIPE) as running:
        out, err = running.communicate(timeout=60)
    assert running.returncode == 0, out + err
    assert err == ""
    return out


def rented(market: Sandbox) -> list[int]:
    """The servers that were rented, in order; checks that no rate limit was exceeded."""
    assert 5 not in {e.code for e in market.journal()}
    return [e.body["renting_server"] for e in market.journal() if e.order is not None]


def cheapest_4090(records: list[dict]) -> dict:
    free = [s for s in records if "4090" in s["specs"]["gpu"] and not s["rented"]]
    return min(free, key=lambda s: s["price"]["on_demand"]["bitcoin"])


def test_full_working_example(document, market, real_servers):
    """It finds 3,500 servers, rents the cheapest 4090, and prints its order."""
    out = run(program(document, "### Full Working Example"), market)
    best = cheapest_4090(real_servers)["id"]
    assert "Found 3500 servers on marketplace" in out
    assert f"Cheapest RTX 4090: server ID {best}" in out
    assert "Order created successfully!" in out
    assert re.search(rf"Order \d+: server {best}\n", out)
    assert rented(market) == [best]


def test_find_cheapest_and_rent(document, market, real_servers):
    """It makes one order, of the server that it prints."""
    out = run(program(document, "### Find Cheapest RTX 4090 and Rent It"), market)
    best = cheapest_4090(real_servers)["id"]
    assert f"Renting server {best}" in out
    assert "Done! Check your orders" in out
    assert rented(market) == [best]


def test_auto_rent_when_the_price_drops(document, market):
    """It passes `required_price`, which 001's own class lacks."""
    out = run(program(document, "### Auto-Rent When Price Drops Below X"), market)
    found = re.search(r"Order created for server (\d+)!", out)
    assert rented(market) == [int(found[1])]
    (entry,) = [e for e in market.journal() if e.order is not None]
    assert 0 < entry.body["required_price"] <= 0.00012


def test_monitor_my_orders(document, market):
    """It prints the orders until Ctrl-C."""
    words = [sys.executable, "-W", "error", "-c", program(document, "### Monitor My Orders")]
    with subprocess.Popen(
        words, env=settings(market), stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as running:
        for line in running.stdout:
            if "No active orders." in line:
                break
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=15)
    assert [e.endpoint for e in market.journal()] == ["my_orders"]


def test_error_handling_example(document, market, real_servers):
    """Its retry loop rents once, although the service fails after it has acted."""
    market.fault("create_order", "act_then_500")
    server = cheapest_4090(real_servers)["id"]
    text = program(document, "### Python Error Handling Example")
    out = run(text + f"\nprint(create_order_with_retry({server}, 'i'))\n", market)
    assert "'order_id': " in out
    assert sum(e.order is not None for e in market.journal()) == 1
    assert len([e for e in market.journal() if e.endpoint == "create_order"]) == 1
