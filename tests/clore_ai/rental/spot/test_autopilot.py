"""A spot order is steered on a real marketplace, with one body for both clients."""

from __future__ import annotations

import concurrent.futures
import threading
from typing import TYPE_CHECKING, Any

import pytest
from steer import GOES_ON, TICK, USD, Play, bid_of, bids, nothing, seen

from clore_ai import CloreAI
from clore_ai.exceptions import (
    AuthError,
    BudgetError,
    ConfigError,
    InvalidInputError,
    NotFoundError,
    OrderEnded,
)
from clore_ai.models.records import Budget
from clore_ai.rental.orders import ending

if TYPE_CHECKING:
    from clients import Api


def test_the_bid_rises_when_outbid_and_falls_when_the_rival_leaves(
    place, spot_server, rival, api_of, kind
):
    """It rises a tick above the rival, and falls by the service's step, once in 600 s."""
    server, least = spot_server
    api = api_of(place)
    order = bids(api, server, least)
    theirs: list[int] = []
    play = Play(
        api,
        order,
        (seen("begins", "runs"), lambda: theirs.append(bids(rival, server, least + 0.5))),
        (seen("outbid", "raised", "runs"), lambda: rival.cancel_order(theirs[0])),
        (seen("raised", "runs", "lowered"), lambda: place.advance(601)),
        (lambda p: p.kinds.count("lowered") == 2, nothing),
    )
    report = play.run(max_per_day=least + 2)
    (raised,) = [e for e in play.events if e.event == "raised"]
    assert raised.bid == pytest.approx(least + 0.5 + TICK, abs=1e-9)
    assert raised.usd_per_hour == pytest.approx(raised.bid / 24)
    assert raised.sentence.startswith(f"Raised to ${raised.usd_per_hour:.4f}/h = $")
    assert (raised.row()["currency"], raised.currency) == (USD, USD)
    first, second = [e.bid for e in play.events if e.event == "lowered"]
    assert raised.bid > first > second == bid_of(api, server, order) == report.bid >= least
    assert raised.bid - first == pytest.approx(first - second, abs=2e-8)  # a whole step each
    refused = [e for e in api.entries("set_spot_price") if e.answer["code"] == 6]
    assert [e.answer["error"] for e in refused] == ["exceeded_max_step"]
    assert (report.ended, report.outbids, report.raised, report.lowered) == ("stopped", 1, 1, 2)


def test_the_bid_stops_at_the_limit_and_waits(place, spot_server, rival, api_of, kind):
    """No bid is above the limit; when the rival leaves, the order runs again without a new bid."""
    server, least = spot_server
    api = api_of(place)
    order = bids(api, server, least)
    theirs = bids(rival, server, least + 2)
    play = Play(
        api,
        order,
        (seen("begins", "beaten"), lambda: rival.cancel_order(theirs)),
        (seen("beaten", "runs"), nothing),
    )
    play.run(max_usd_per_hour=(least + 1) / 24)
    assert api.entries("set_spot_price") == []
    assert bid_of(api, server, order) == least


def test_a_lost_answer_is_settled_by_the_next_look(place, spot_server, rival, api_of, kind):
    """Whether it was acted on or not, the bid ends up right, and is not sent repeatedly."""
    server, least = spot_server
    api = api_of(place)
    order = bids(api, server, least)
    bids(rival, server, least + 0.5)
    for fault in ("act_then_500", "cut_before", "500", "act_then_cut"):
        api.fault("set_spot_price", fault)
    play = Play(api, order, (seen("begins", "trouble", "runs"), nothing))
    play.run(max_per_day=least + 2)
    assert bid_of(api, server, order) == pytest.approx(least + 0.5 + TICK, abs=1e-9)
    assert len(api.entries("set_spot_price")) == 1

    place.clear_faults()
    api.fault("set_spot_price", "500")
    bids(api_of(place), server, least + 0.7)
    play = Play(api, order, (seen("begins", "trouble", "raised", "runs"), nothing))
    play.run(max_per_day=least + 2)
    assert len(api.entries("set_spot_price")) == 3


def test_errors_are_reported_once_and_pass(place, spot_server, api_of, kind):
    """Only an unknown key ends the autopilot."""
    server, least = spot_server
    api = api_of(place, max_retries=0)
    order = bids(api, server, least)
    play = Play(
        api,
        order,
        (seen("runs"), lambda: api.fault("spot_marketplace", "rate_limited", times=3)),
        (seen("trouble"), lambda: api.fault("spot_marketplace", "html_502", times=2)),
        (lambda p: p.kinds.count("trouble") == 2 and p.kinds[-1] == "runs", nothing),
    )
    play.run(max_per_day=least + 1)

    stranger = api_of(place, api_key="nobody-has-this-key")
    with pytest.raises(AuthError):
        stranger.spot_auto(order, max_per_day=1.0)


def test_the_autopilot_ends_with_its_order(place, spot_server, api_of, kind):
    """The order is cancelled elsewhere: the report shows the amount spent."""
    server, least = spot_server
    api = api_of(place)
    order = bids(api, server, least)

    play = Play(
        api,
        order,
        (seen("runs"), lambda: place.advance(3600)),
        (lambda p: len(p.api.entries("spot_marketplace")) > 4, lambda: cancelled_elsewhere(api)),
        GOES_ON,
    )
    report = play.run(max_per_day=least + 1)
    assert report.ended == "ended"
    assert report.order.active is False
    assert report.spend == pytest.approx(least / 24, rel=0.05)
    assert report.fees == pytest.approx(report.spend * 0.0125)
    assert report.held_s == pytest.approx(3600, abs=30)
    assert report.held_share > 0.98
    assert report.on_demand > report.spend
    assert report.saved == pytest.approx(report.on_demand - report.spend - report.fees)
    assert report.saved_usd == pytest.approx(report.saved)


def cancelled_elsewhere(api: Api) -> None:
    """Cancel it with another client of the account, since the steering client is busy."""
    with CloreAI(api.key, api.market.base_url) as same:
        same.rate_limiter.min_interval = 0
        for order in same.my_orders():
            same.cancel_order(order.id)


def test_no_bid_is_made_against_on_demand_or_a_lost_host(place, spot_server, api_of, kind):
    """No bid helps, so none is made, and the two states are reported separately."""
    server, least = spot_server
    api = api_of(place)
    order = bids(api, server, least)
    play = Play(
        api,
        order,
        (seen("runs"), lambda: place.set_rented(server, True)),
        (seen("waits"), lambda: place.set_rented(server, False)),
        (seen("waits", "runs"), lambda: place.set_online(server, False)),
        (seen("offline"), lambda: place.set_online(server, True)),
        (seen("offline", "runs"), nothing),
    )
    report = play.run(max_per_day=least + 1)
    assert api.entries("set_spot_price") == []
    assert report.outbids == 2


def test_an_order_that_is_not_our_spot_order_is_refused(place, spot_server, api_of, kind):
    """The error comes before the auction is read."""
    server, _least = spot_server
    api = api_of(place)
    with pytest.raises(NotFoundError, match="no order 7"):
        api.spot_auto(7, max_per_day=1.0)
    on_demand = api.rent(server, currency=USD)
    with pytest.raises(InvalidInputError, match="on-demand"):
        api.spot_auto(on_demand.id, max_per_day=1.0)
    api.cancel_order(on_demand.id)
    with pytest.raises(OrderEnded):
        api.spot_auto(on_demand.id, max_per_day=1.0)
    for wrong in (
        {},
        {"max_per_day": 1.0, "max_usd_per_hour": 1.0},
        {"max_per_day": float("nan")},
        {"max_per_day": -1.0},
        {"max_per_day": 1.0, "every_s": 0.0},
        {"max_per_day": 1.0, "for_s": 0.0},
        {"max_per_day": 1.0, "headroom": 5.0},
    ):
        with pytest.raises(InvalidInputError):
            api.spot_auto(7, **wrong)
    assert api.entries("spot_marketplace") == []


def test_the_limit_must_fit_the_budget(place, spot_server, api_of, kind):
    """A higher bid costs money, so the budget is checked before the first bid."""
    server, least = spot_server
    api = api_of(place)
    order = api.rent(server, type="spot", currency=USD, spot_price=least, lease_h=1).id
    api.ledger.set_budget(Budget(USD, "month", least))
    with pytest.raises(BudgetError, match="Over your budget"):
        api.spot_auto(order, max_per_day=least * 100)
    assert api.spot_auto(order, max_per_day=least * 2, for_s=0.1).ended == "deadline"


def test_an_order_that_reaches_its_lease_is_cancelled_for_that(place, spot_server, api_of, kind):
    """The report says so, and the ledger why."""
    server, least = spot_server
    api = api_of(place)
    order = api.rent(server, type="spot", currency=USD, spot_price=least, lease_h=1).id
    place.advance(3700)
    assert api.spot_auto(order, max_per_day=least + 1).ended == "limit"
    assert api.ledger.by_order(order).reason == ending.of_limit("lease")


def test_a_look_is_one_request(place, spot_server, api_of, kind):
    """The orders are read at the start and the end, the marketplace once an hour."""
    server, least = spot_server
    api = api_of(place)
    order = bids(api, server, least)
    before = len(api.entries("my_orders"))
    looks = (lambda _play: len(api.entries("spot_marketplace")) > 8, nothing)
    Play(api, order, looks).run(max_per_day=least + 1)
    assert len(api.entries("my_orders")) - before == 2
    assert len(api.entries("marketplace")) == 1
    assert api.entries("set_spot_price") == []


def test_an_order_is_steered_once(place, spot_server, api_of, kind, tmp_path):
    """Two autopilots would bid against each other, so the second is refused."""
    server, least = spot_server
    api = api_of(place, state=tmp_path)
    order = bids(api, server, least)
    same = api_of(place, state=tmp_path, api_key=api.key)
    failed: list[Exception] = []

    def second() -> None:
        try:
            same.spot_auto(order, max_per_day=1.0)
        except ConfigError as exc:
            failed.append(exc)

    thread = threading.Thread(target=second)
    play = Play(api, order, (seen("runs"), thread.start), (lambda _p: bool(failed), nothing))
    play.run(max_per_day=least + 1)
    thread.join()
    assert "already bids for order" in str(failed[0])


def test_the_state_is_kept_for_the_next_command(place, spot_server, api_of, kind, tmp_path):
    """With a state folder a later command's report continues from the first look."""
    server, least = spot_server
    first = api_of(place, state=tmp_path)
    order = bids(first, server, least)
    assert first.spot_auto(order, max_per_day=least + 1, for_s=0.1).held_s < 30
    place.advance(3600)
    later = api_of(place, state=tmp_path, api_key=first.key)
    report = later.spot_auto(order, max_per_day=least + 1, for_s=0.1)
    assert report.held_s == pytest.approx(3600, abs=30)
    assert report.spend == pytest.approx(least / 24, rel=0.05)


def test_a_cancelled_task_or_ctrl_c_leaves_the_order_and_no_lock(place, spot_server, api_of, kind):
    """Steering can resume at once; the stop made no bid and cancelled nothing."""
    server, least = spot_server
    api = api_of(place)
    order = bids(api, server, least)
    stopped = (KeyboardInterrupt, concurrent.futures.CancelledError)

    def interrupted(event: Any) -> None:
        if event.event == "runs":
            raise KeyboardInterrupt

    if kind == "sync":
        with pytest.raises(KeyboardInterrupt):
            api.spot_auto(order, max_per_day=least + 1, on_event=interrupted)
    else:
        runs = threading.Event()
        task = api._loop.start(
            api.client.spot_auto(
                order, max_per_day=least + 1, on_event=lambda e: e.event == "runs" and runs.set()
            )
        )
        assert runs.wait(10)
        task.cancel()
        with pytest.raises(stopped):
            task.result(10)
        api.at_once(("wallets", {}))  # the loop goes on
    assert api.spot_auto(order, max_per_day=least + 1, for_s=0.1).ended == "deadline"
    assert [o.id for o in api.my_orders()] == [order]
    assert api.entries("set_spot_price") == api.entries("cancel_order") == []
