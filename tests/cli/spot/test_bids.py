"""Bids in USD or coin are checked against the server's on-demand price."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

import pytest

if TYPE_CHECKING:
    from tests.cli.driver import Renter, Terminal
    from typing_extensions import TypeAlias

Spot: TypeAlias = "tuple[int, float, float]"
DEPLOY = ("--image", "cloreai/ubuntu22.04-cuda12", "--type", "spot", "--currency")


@pytest.fixture
def spot(renter: Renter) -> Spot:
    """A server, with its lowest bid and its on-demand price in USD a day."""
    import httpx

    rows = httpx.get(f"{renter.market.base_url}/marketplace").json()["servers"]
    by_id = {row["id"]: row["price"] for row in rows}
    while True:
        number = renter.server()
        prices = [by_id[number][tier].get("USD-Blockchain", 0) for tier in ("spot", "on_demand")]
        if 0.5 < prices[0] < prices[1]:
            return number, prices[0], prices[1]


def deploy(renter: Renter, server: int, price: object, *more: object, coin: str = "USD") -> int:
    return int(renter("deploy", server, *DEPLOY, coin, "--spot-price", price, *more).out)


def bid_of(renter: Renter, order: int) -> float:
    """The order's bid in coin a day."""
    rows = {row["id"]: row for row in renter("orders", "--json").data}
    return float(rows[order]["price"])


def test_a_mistyped_bid_in_a_script_is_refused(renter: Renter, spot: Spot) -> None:
    """Above on-demand it needs --yes, above three times that --force; exit 2, no request sent."""
    server, least, listed = spot
    order = deploy(renter, server, least)
    far = renter("spot-price", order, 500000, "--yes", fails=2).err
    assert f"times what server {server} costs on demand ($" in far
    assert "Bid less, or add --force." in far
    near = renter("spot-price", order, f"{listed * 1.5:.4f}", fails=2).err
    assert f"The bid is 1.5 times what server {server} costs on demand" in near
    assert "there is no terminal. Add --yes." in near
    assert renter.requests("set_spot_price") == []
    renter("spot-price", order, f"{listed * 1.5:.4f}", "--yes")
    assert bid_of(renter, order) == pytest.approx(listed * 1.5, abs=1e-3)
    renter("spot-price", order, f"{listed * 4:.4f}", "--force")
    assert bid_of(renter, order) == pytest.approx(listed * 4, abs=1e-3)
    renter("spot-price", order, f"{listed * 4 - 0.01:.4f}")  # A lower bid is never a mistake.
    renter("cancel", order)


def test_deploy_checks_bids_alike(renter: Renter, spot: Spot) -> None:
    """The bid is refused before renting; a dry run refuses it too."""
    server, _, listed = spot
    words = ("deploy", server, *DEPLOY, "USD", "--spot-price")
    assert "add --force" in renter(*words, listed * 10, "--yes", fails=2).err
    assert "Add --yes." in renter(*words, listed * 2, fails=2).err
    assert "The bid is 10 times what" in renter(*words, listed * 10, "--dry-run").err
    assert renter.requests("create_order") == []
    renter("cancel", deploy(renter, server, listed * 2, "--yes"))
    renter("cancel", deploy(renter, server, listed * 10, "--force"))


@pytest.mark.parametrize("written", ["{0}/day", "${0}/day", "{1}/h", "{0}"])
def test_a_bid_in_usd(renter: Renter, spot: Spot, written: str) -> None:
    """USD needs its unit, an hour or a day; a bare number is coin a day, which is USD here."""
    server, least, listed = spot
    price = (least + listed) / 2
    order = deploy(renter, server, written.format(price, price / 24))
    assert bid_of(renter, order) == pytest.approx(price, abs=1e-6)
    renter("cancel", order)


def test_a_usd_bid_for_an_order_in_another_coin(renter: Renter, spot: Spot) -> None:
    """USD is converted at the coin's rate; a coin other than the order's is refused."""
    server, _, _ = spot
    market = renter("spot", server, "--json").data
    worth = market["currency_rates_in_usd"]["bitcoin"]
    bitcoin = market["server"]["min_pricing"]["bitcoin"]
    price = bitcoin * worth * 1.5
    order = deploy(renter, server, f"{bitcoin:.8f}", "--force", coin="bitcoin")
    renter("spot-price", order, f"{price}/day", "--force")
    assert bid_of(renter, order) == pytest.approx(price / worth, rel=1e-3)
    done = renter("spot-price", order, "1 CLORE/day", "--force", fails=2)
    assert "The order is paid in bitcoin, not in CLORE-Blockchain" in done.err
    renter("cancel", order)
    second = deploy(renter, server, f"{price}/day", "--force", coin="bitcoin")
    assert bid_of(renter, second) == pytest.approx(price / worth, rel=0.2)
    renter("cancel", second)


@pytest.mark.parametrize(
    "written", ["0", "-1", "nan", "inf", "much", "1/week", "$5", "0/h", "1e999"]
)
def test_bad_bids_are_refused(renter: Renter, written: str) -> None:
    """Each error is one sentence, and no request is sent."""
    for words in (
        ("spot-price", "--", 7, written),
        ("deploy", 7, *DEPLOY, "USD", f"--spot-price={written}"),
    ):
        done = renter(*words, fails=2)
        assert "is not a bid; write 0.2/h or 4.8/day (USD)" in done.err or "not above 0" in done.err
    assert renter.requests("my_orders") == []


def test_how_far_and_when_a_bid_may_be_lowered(renter: Renter, spot: Spot) -> None:
    """The error shows the step in USD an hour, what to type now, and when to lower it again."""
    server, least, _ = spot
    order = deploy(renter, server, least + 3, "--force")
    refused = renter("spot-price", order, least, fails=1).err
    assert f"The bid of order {order} can be lowered by at most $" in refused
    assert "/h = $" in refused
    assert "and by as much in 10m, at 20" in refused
    now = refused.split("Now: clore spot-price ")[1].split()
    done = renter("spot-price", *now)
    assert "It can be lowered again in 10m, at 20" in done.err
    assert bid_of(renter, order) == pytest.approx(float(now[1]))
    late = renter("spot-price", order, float(now[1]) - 0.001, "--json", fails=1)
    assert f"The bid of order {order} can be lowered again in " in late.error["message"]
    assert " UTC; raising is free." in late.error["message"]
    assert late.error["error"] == "can_lower_every_600_seconds"
    below = renter("spot-price", order, least / 2, fails=1).err
    assert f"For the lowest accepted bid: clore spot {server}" in below
    shown = renter("spot", "auto", order, "--max", f"{least}/day", "--once", "--yes").err
    assert "lowers    " in shown
    renter("cancel", order)


def test_a_mistyped_limit_is_refused(renter: Renter, spot: Spot) -> None:
    """The autopilot's limit needs --force, not just --yes."""
    server, least, listed = spot
    order = deploy(renter, server, least)
    words = ("spot", "auto", order, "--once", "--yes", "--max")
    assert f"what server {server} costs on demand" in renter(*words, "500/h", fails=2).err
    assert "The limit is 2 times what" in renter(*words, f"{listed * 2}/day").err
    renter(*words, "500/h", "--force")
    renter("cancel", order)


def test_a_bid_or_limit_for_the_best_server(renter: Renter, spot: Spot) -> None:
    """rent, run and watch need --force for a high bid; a limit gets only a message."""
    del spot
    bid = ("--spot", "--spot-price", 5000, "--currency", "USD", "--yes")
    assert "add --force" in renter("rent", *bid, fails=2).err
    assert "The bid is " in renter("rent", *bid, "--dry-run").err
    run = ("run", *bid, "--no-upload", "--", "true")
    assert "add --force" in renter(*run, fails=2).err
    assert "add --force" in renter("watch", "--rent", *bid, "--once", fails=6).err
    limit = ("--spot", "--max-bid", "500/h", "--currency", "USD", "--yes", "--dry-run")
    assert "The limit of the bid is " in renter("rent", *limit).err
    assert renter.requests("create_order") == []


def test_a_high_bid_asks_on_a_terminal(
    renter: Renter, spot: Spot, terminal: Callable[..., Terminal]
) -> None:
    """The question shows how far the bid is above on-demand; the default is No."""
    server, least, listed = spot
    order = deploy(renter, server, least)
    screen = terminal(renter, 150)
    screen.start(f"clore spot-price {order} {listed * 2:.4f}")
    assert "The bid is 2 times what server" in screen.wait("Set it? [y/N]:")
    screen.keys("Enter")
    assert "The bid is unchanged." in screen.wait("end=1")
    assert bid_of(renter, order) == pytest.approx(least)
    renter("cancel", order)
