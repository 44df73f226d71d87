"""The rental itself ends an order at its limits, sync and async, whatever the program does."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Callable

import pytest
from waiting import until

from clore_ai import LimitReached
from clore_sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clients import Api

H = 3600


@pytest.fixture
def market() -> Iterator[Sandbox]:
    """A marketplace per test, since its clock is moved."""
    with Sandbox(visibility_lag_s=0.05, boot_s=0.1, limits=False) as sandbox:
        yield sandbox


@pytest.fixture
def api(api_of: Callable[..., Api], market: Sandbox, tmp_path: Path) -> Api:
    return api_of(market, state=tmp_path / ".clore")


def running(api: Api) -> list[int]:
    return [order.id for order in api.my_orders() if order.active]


@pytest.mark.parametrize(
    "limit",
    [
        {"lease_h": 2},
        # Both become a lease before the order is made.
        pytest.param({"max_cost_usd": 1.0}, marks=pytest.mark.exhaustive),
        pytest.param({"max_hours": 2}, marks=pytest.mark.exhaustive),
    ],
)
def test_an_order_is_cancelled_at_its_limit(
    api: Api, market: Sandbox, limit: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A command that runs there fails with the limit as its reason, and so do later ones."""
    caplog.set_level(logging.WARNING, "clore_ai")
    with api.renting("RTX 4090", **limit) as rental:
        intent = api.ledger.by_order(rental.order.id)
        market.advance(0.95 * (intent.lease_s or 0))
        until(lambda: rental.events[-1].what == "near", "that it is near", 60)
        assert rental.exec("true").code == 0
        market.advance(0.2 * intent.lease_s)
        with pytest.raises(LimitReached, match=f"order {rental.order.id} |Order {rental.order.id}"):
            rental.exec("sleep 100")
        assert [event.what for event in rental.events[-2:]] == ["near", "limit"]
        until(lambda: running(api) == [], "its end", 60)
        for use in (
            lambda: rental.exec("true"),
            lambda: rental.put(__file__, "x"),
            lambda: rental.ssh_command,
        ):
            with pytest.raises(LimitReached):
                use()
    said = [r.getMessage() for r in caplog.records if r.name == "clore_ai"]
    assert [m for m in said if "the order is cancelled" in m]
    assert len([m for m in said if "Keep the order" in m or "will be cancelled in about" in m]) == 1


def test_without_a_limit_the_order_runs_until_cancelled(api: Api, market: Sandbox) -> None:
    """Only `clore reap` applies a default limit."""
    with api.renting("RTX 4090") as rental:
        intent = api.ledger.by_order(rental.order.id)
        assert intent.enforced == "reap"
        market.advance(30 * H)
        assert rental.exec("true").code == 0
        assert running(api) == [rental.order.id]
        assert rental.events[-1].what == "rented"
    assert running(api) == []


def test_a_job_on_an_order_ends_at_its_limit(api: Api, market: Sandbox, tmp_path: Path) -> None:
    """Outputs are fetched, the order is cancelled, and `run` names the limit."""
    with api.renting("RTX 4090", lease_h=2) as rental:
        order_id = rental.order.id
        work = tmp_path / "w"
        work.mkdir()

        def show(_piece: bytes) -> None:
            market.advance(3 * H)

        with pytest.raises(LimitReached, match="lease"):
            api.run(
                "mkdir o; echo 1 > o/x; echo begun; sleep 100",
                order_id, folder=work, outputs=["o"], on_output=show,
            )  # fmt: skip
        assert (work / "o" / "x").read_text() == "1\n"
        until(lambda: running(api) == [], "its end", 60)
