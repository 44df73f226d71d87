"""`client.monitor` yields views of the orders and their GPUs, in both clients."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any, Callable

import pytest

from clore_ai.exceptions import AuthError, NotFoundError
from clore_sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clients import Api


@pytest.fixture(scope="module")
def market() -> Iterator[Sandbox]:
    """Machines with real SSH and simulated GPUs."""
    with Sandbox(visibility_lag_s=0.05, boot_s=0.1, limits=False) as sandbox:
        yield sandbox


@pytest.fixture
def api(api_of: Callable[..., Api], market: Sandbox, tmp_path: Any) -> Api:
    return api_of(market, state=tmp_path)


def connections() -> list[str]:
    """The ssh processes of this process that read GPUs."""
    words = ["ps", "-ww", "-o", "args=", "--ppid", str(os.getpid())]
    listed = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    ssh = [line for line in listed.splitlines() if line.startswith("ssh ")]
    return [line for line in ssh if "utilization.gpu" in line]


def test_monitor_follows_an_order_to_its_end(api):
    """GPUs are read over one connection, which ends with the order; then the iterator ends.

    An order comes with its price.
    """
    rental = api.renting("RTX", verify="ssh")
    rental.start()
    order, said = rental.order.id, []
    with api.stream("monitor", order_ids=[order], every=0.3, timeout=60) as views:
        for view in views:
            said += [event.what for event in view.events]
            if view.orders and view.orders[0].gpus and "ssh_up" in said:
                (seen,) = view.orders
                assert (seen.order.id, seen.ssh, seen.use_percent) == (order, "up", 0.0)
                assert seen.temperature_c > 0
                assert seen.price is not None
                assert seen.price.usd_per_day == seen.row(view.at)["price_usd_per_day"] > 0
                assert len(connections()) == 1
                rental.cancel()
    assert (said[0], said[-1]) == ("order", "ended")
    assert view.orders == ()
    assert connections() == []


def test_leaving_the_loop_closes_the_connection_and_keeps_the_order(api):
    with api.renting("RTX", verify="ssh") as rental:
        with api.stream("monitor", every=0.3, timeout=60) as views:
            for view in views:
                if any(seen.gpus for seen in view.orders):
                    break
        assert connections() == []
        assert rental.order.id in [o.id for o in api.my_orders() if o.active]


def test_an_error_is_reported_once_and_passes(api_of, market):
    """Of failed reads only the first yields a view, with its error; the next success yields one."""
    api = api_of(market, max_retries=0)
    api.fault("my_orders", "500", times=3)
    with api.stream("monitor", every=0.1, timeout=20, gpus=False) as views:
        seen = [next(views)]
        while not seen[-1].looked:
            seen.append(next(views))
    assert [e.what for view in seen for e in view.events] == ["trouble"]
    assert "Going on." in seen[0].events[0].message
    assert len(api.entries("my_orders")) == 4


def test_monitor_ends_in_time_and_reports_orders_that_it_cannot_watch(api, api_of, market):
    with api.stream("monitor", every=0.2, timeout=0.5, gpus=False) as views:
        assert 2 <= len(list(views)) <= 4
    with api.stream("monitor", order_ids=[7]) as views, pytest.raises(NotFoundError, match="7"):
        next(views)
    stranger = api_of(market, api_key="nobody-has-this-key")
    with stranger.stream("monitor") as views, pytest.raises(AuthError):
        next(views)
    for wrong in ({"every": 0}, {"timeout": -1}):
        with api.stream("monitor", **wrong) as views, pytest.raises(ValueError, match="above 0"):
            next(views)
