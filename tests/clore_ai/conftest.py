"""A real marketplace on loopback, and both clients against it."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any, Callable

import pytest
from clients import Api

from clore_sandbox import Sandbox
from clore_sandbox.fleet.sample import sample_fleet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUICK: dict[str, Any] = {"visibility_lag_s": 0.05, "boot_s": 0.1, "limits": False}


@pytest.fixture(scope="session")
def market() -> Iterator[Sandbox]:
    """The sample fleet; orders start no machine. Tests take accounts and servers of their own."""
    with Sandbox(provision=False, **QUICK) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def reference_market() -> Iterator[Sandbox]:
    """The same fleet, in the dialect of 002 and 004."""
    with Sandbox(provision=False, dialect="reference", **QUICK) as sandbox:
        yield sandbox


@pytest.fixture
def own_market() -> Iterator[Callable[..., Sandbox]]:
    """Makes marketplaces for one test."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(Sandbox(**{**QUICK, **options}))


@pytest.fixture(scope="session")
def real_market(inventory_file: Path) -> Iterator[Sandbox]:
    """The 3,500 real servers."""
    with Sandbox(provision=False, inventory=inventory_file, **QUICK) as sandbox:
        yield sandbox


@pytest.fixture
def kind() -> str:
    """The client to test: the hand-written one; both in a module with `BOTH_CLIENTS`."""
    return "async"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a module for both clients: ``BOTH_CLIENTS = "suite"``, or "soak" in `make soak` only.

    The generated client differs in its driver only, and each step of that is in
    `_io/test_drivers.py`.
    """
    both = getattr(metafunc.module, "BOTH_CLIENTS", None)
    if both and "kind" in metafunc.fixturenames:
        marks = [pytest.mark.exhaustive] if both == "soak" else []
        metafunc.parametrize("kind", (pytest.param("sync", marks=marks), "async"))


@pytest.fixture
def api_of(kind: str) -> Iterator[Callable[..., Api]]:
    """Makes clients of one kind, each with its own account."""
    with contextlib.ExitStack() as stack:

        def make(market: Sandbox, **options: Any) -> Api:
            api = Api(kind, market, **options)
            stack.callback(api.shut)
            return api

        yield make


@pytest.fixture
def api(api_of: Callable[..., Api], market: Sandbox) -> Api:
    """A client of the sample fleet."""
    return api_of(market)


_places: dict[str, Iterator[int]] = {}


@pytest.fixture
def server_of() -> Callable[[Sandbox], int]:
    """Gives free servers of a marketplace, each to one test only; they cost little bitcoin."""
    from clore_ai import CloreAI

    def take(sandbox: Sandbox) -> int:
        if sandbox.base_url not in _places:
            with CloreAI(base_url=sandbox.base_url) as client:
                fit = [
                    s.id
                    for s in client.marketplace()
                    if 0 < (s.price_per_day("bitcoin") or 0) < 0.001 and not s.gigaspot
                ]
            _places[sandbox.base_url] = itertools.chain(fit)
        return next(_places[sandbox.base_url])

    return take


@pytest.fixture
def server(server_of: Callable[[Sandbox], int], market: Sandbox) -> int:
    """A free server of the sample fleet."""
    return server_of(market)


@pytest.fixture(scope="session")
def small_fleet() -> dict[str, Any]:
    """An inventory of 80 servers, half of them free: it starts in a third of the time."""
    return {"servers": sample_fleet(0, 80)}


@pytest.fixture
def place(own_market: Callable[..., Sandbox], small_fleet: dict[str, Any]) -> Sandbox:
    """A marketplace for one test: its clock is moved, and its servers are rented."""
    return own_market(provision=False, inventory=small_fleet)


@pytest.fixture
def spot_server(place: Sandbox) -> tuple[int, float]:
    """A free server with its least bid in USD."""
    probe, coin = Api("sync", place), "USD-Blockchain"
    try:
        fits = [
            (s.id, s.price_per_day(coin, "spot"))
            for s in probe.marketplace()
            if s.price_per_day(coin) and s.price_per_day(coin, "spot") and (s.mrl or 0) > 48
        ]
    finally:
        probe.shut()
    return next((server, price) for server, price in fits if price > 1)


@pytest.fixture
def rival(place: Sandbox) -> Iterator[Api]:
    """Another account."""
    other = Api("sync", place)
    yield other
    other.shut()
