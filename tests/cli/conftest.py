"""A marketplace for each file, and users of it with homes of their own."""

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
    """The tests of a file share it, since some move its time.

    Each has its own account and servers, and faults of that account only.
    """
    with Sandbox(inventory=FLEET, limits=False, visibility_lag_s=0.1, boot_s=0.1) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def take(market: Sandbox) -> Callable[[], int]:
    """Gives each free server that takes all three coins to one test only, the cheapest first."""
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
    """Nothing of the user who runs the tests but where programs are."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "HOME": str(home.parent), "CLORE_HOME": str(home), **more}


def call_off(home: Path) -> None:
    """Whoever sees a job through in the background ends, and so does who keeps limits there."""
    for mark in (*home.glob("jobs/*/follower"), *home.glob("keepers/*.log")):
        mark.unlink(missing_ok=True)


@pytest.fixture
def nobody(tmp_path: Path) -> Clore:
    """A user who has just installed clore: no key, no settings."""
    home = tmp_path / ".clore"
    # An address where nobody listens: a test must never reach the service.
    return Clore(home, environment(home, CLORE_BASE_URL="http://127.0.0.1:9/v1"))


@pytest.fixture
def renter(market: Sandbox, take: Callable[[], int], tmp_path: Path) -> Iterator[Renter]:
    """A new account with money, and what points `clore` at it; the pace is lifted."""
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
    call_off(home)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Opens terminals: `terminal(user, width)`."""
    with contextlib.ExitStack() as stack:

        def make(user: Clore, width: int = 100) -> Terminal:
            opened = Terminal(user, tmp_path, width)
            stack.callback(opened.close)
            return opened

        yield make


@pytest.fixture
def local(nobody: Clore) -> Iterator[Clore]:
    """A user who runs marketplaces of their own; what is left of them is stopped at the end."""
    user = nobody.with_(CLORE_BASE_URL="")
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
    """A machine, whose order stays until the test ends it."""
    return renter.rent()
