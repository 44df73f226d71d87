"""A marketplace for each test file, and users with home folders of their own."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Callable

import pytest

from clore_sandbox import Sandbox

from .driver import FLEET, Clore, Renter, Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_KEPT = ("PATH", "LANG", "TMPDIR")


@pytest.fixture(scope="module")
def market() -> Iterator[Sandbox]:
    """The marketplace that the tests of a file share; a file has its own, since some move its time.

    Each test has its own account and servers, and faults apply to that account only.
    """
    with Sandbox(inventory=FLEET, limits=False, visibility_lag_s=0.1, boot_s=0.1) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def take(market: Sandbox) -> Callable[[], int]:
    """Gives each test a free server of its own that takes all three coins, cheapest first."""
    import httpx

    def fits(record: dict[str, Any]) -> bool:
        prices = record["price"]["on_demand"]
        wanted = ("bitcoin", "USD-Blockchain")
        return (
            not record["rented"]
            and not record.get("gigaspot")
            and "CLORE-Blockchain" in record["allowed_coins"]
            and all(c in record["allowed_coins"] and 0 < prices.get(c, 0) < 50 for c in wanted)
        )

    records = httpx.get(f"{market.base_url}/marketplace").json()["servers"]
    free = sorted((r["price"]["on_demand"]["USD-Blockchain"], r["id"]) for r in records if fits(r))
    ids = iter([server for _, server in free])
    return lambda: next(ids)


def environment(home: Path, **more: str) -> dict[str, str]:
    """An environment without anything of the developer's except the places of programs."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "HOME": str(home.parent), "CLORE_HOME": str(home), **more}


def stop_background(home: Path) -> None:
    """Stop the background processes that follow jobs or keep limits."""
    for mark in (*home.glob("jobs/*/follower"), *home.glob("keepers/*.log")):
        mark.unlink(missing_ok=True)


@pytest.fixture
def new_user(tmp_path: Path) -> Clore:
    """A user who has just installed clore and has no key and no settings."""
    home = tmp_path / ".clore"
    # A port without a listener: a test must never reach the service.
    return Clore(home, environment(home, CLORE_BASE_URL="http://127.0.0.1:9/v1"))


@pytest.fixture
def renter(market: Sandbox, take: Callable[[], int], tmp_path: Path) -> Iterator[Renter]:
    """A new account with money and the settings that point `clore` at it; the pace is lifted."""
    home = tmp_path / ".clore"
    coins = {"bitcoin": 1, "CLORE-Blockchain": 100_000, "USD-Blockchain": 1_000}
    key = market.create_account(coins)
    env = environment(
        home,
        CLORE_BASE_URL=market.base_url,
        CLORE_API_KEY=key,
        CLORE_REQUESTS_PER_SECOND="1000",
    )
    yield Renter(home, env, key, market=market, take=take)
    stop_background(home)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Opens terminals: `terminal(user, width, alone=False)`."""
    with contextlib.ExitStack() as stack:

        def make(user: Clore, width: int = 100, *, alone: bool = False) -> Terminal:
            opened = Terminal(user, tmp_path, width, alone=alone)
            stack.callback(opened.close)
            return opened

        yield make


@pytest.fixture
def local(new_user: Clore) -> Iterator[Clore]:
    """A user who runs local marketplaces; those still running are stopped at the end."""
    user = new_user.with_(CLORE_BASE_URL="")
    yield user
    with contextlib.suppress(AssertionError):
        user("sandbox", "down")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder, empty."""
    made = tmp_path / "w"
    made.mkdir()
    return made


@pytest.fixture
def order(renter: Renter) -> int:
    """An order on a machine; it runs until the test ends it."""
    return renter.rent()
