"""A spot order is steered against a real marketplace; one body for both clients."""

from __future__ import annotations

import threading
from typing import Any, Callable

import pytest
from clients import Api

from clore_ai import CloreAI, Fallback
from clore_ai.exceptions import (
    AuthError,
    BudgetError,
    ConfigError,
    InvalidInputError,
    NotFoundError,
    OrderEnded,
)
from clore_ai.ledger import Budget

USD = "USD-Blockchain"
TICK = 1e-8
WITHIN_S = 30.0


@pytest.fixture
def market(own_market):
    """Of the test's own: its clock is jumped, its servers priced and rented."""
    return own_market(provision=False)


@pytest.fixture
def spot_server(market) -> tuple[int, float]:
    """A free server with its least bid in USD."""
    probe = Api("sync", market)
    try:
        fits = [
            (s.id, s.price_per_day(USD, "spot"))
            for s in probe.marketplace()
            if s.price_per_day(USD) and s.price_per_day(USD, "spot") and (s.mrl or 0) > 48
        ]
    finally:
        probe.shut()
    return next((server, price) for server, price in fits if price > 1)


@pytest.fixture
def rival(market):
    """Somebody else."""
    other = Api("sync", market)
    yield other
    other.shut()


def bid_of(api: Api, server: int, order: int) -> float:
    return next(o.bid for o in api.spot_marketplace(server).offers if o.order_id == order)


def bids(api: Api, server: int, price: float) -> int:
    """A new spot order in USD."""
    return api.rent(server, type="spot", currency=USD, spot_price=price).id


GOES_ON = (None, None)
"""At the end of a script: it is not stopped there."""


class Play:
    """Steers an order while a script goes on beside it: each act once its condition holds.

    A script is pairs of a condition on the events so far, and an act; after the last it is stopped.
    Without a script it goes on until it ends by itself.
    """

    def __init__(self, api: Api, order: int, *script: tuple[Any, Callable[[], Any]]) -> None:
        api.client.session.bids.every_s = 0  # the marketplace's clock is jumped, this one is not
        self.api, self.order = api, order
        self.script = [step for step in script if step is not GOES_ON]
        self.goes_on = GOES_ON in script or not script
        self.events: list[Any] = []

    @property
    def kinds(self) -> list[str]:
        return [e.event for e in self.events]

    def _stop(self) -> bool:
        while self.script and self.script[0][0](self):
            self.script.pop(0)[1]()
        return not self.script and not self.goes_on

    def run(self, **options: Any) -> Any:
        wishes = {"every_s": 0.05, "for_s": WITHIN_S, **options}
        self.report = self.api.spot_auto(
            self.order, on_event=self.events.append, stop=self._stop, **wishes
        )
        assert not self.script, self.events
        return self.report


def now(_play: Play) -> bool:
    return True


def seen(*kinds: str) -> Callable[[Play], bool]:
    """These events came, in this order, whatever came between."""

    def check(play: Play) -> bool:
        rest = iter(play.kinds)
        return all(kind in rest for kind in kinds)

    return check


def nothing() -> None:
    """The end of a script."""


def test_it_raises_when_outbid_and_lowers_when_the_rival_leaves(
    market, spot_server, rival, api_of, kind
):
    """A tick above the rival; after it left, down by what the service lets, once in 600 s."""
    server, least = spot_server
    api = api_of(market)
    order = bids(api, server, least)
    theirs: list[int] = []
    play = Play(
        api,
        order,
        (seen("begins", "runs"), lambda: theirs.append(bids(rival, server, least + 0.5))),
        (seen("outbid", "raised", "runs"), lambda: rival.cancel_order(theirs[0])),
        (seen("raised", "runs", "lowered"), lambda: market.advance(601)),
        (lambda p: p.kinds.count("lowered") == 2, nothing),
    )
    report = play.run(max_per_day=least + 2)
    (raised,) = [e for e in play.events if e.event == "raised"]
    assert raised.bid == pytest.approx(least + 0.5 + TICK, abs=1e-9)
    assert raised.usd_per_hour == pytest.approx(raised.bid / 24)
    first, second = [e.bid for e in play.events if e.event == "lowered"]
    assert raised.bid > first > second == bid_of(api, server, order) == report.bid >= least
    assert raised.bid - first == pytest.approx(first - second, abs=2e-8)  # a whole step each
    refused = [e for e in api.entries("set_spot_price") if e.answer["code"] == 6]
    assert [e.answer["error"] for e in refused] == ["exceeded_max_step"]
    assert (report.ended, report.outbids, report.raised, report.lowered) == ("stopped", 1, 1, 2)


def test_the_limit_is_kept_and_waited_at(market, spot_server, rival, api_of, kind):
    """What is dearer is not bid; the order runs again when the rival leaves, with no new bid."""
    server, least = spot_server
    api = api_of(market)
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


def test_a_lost_answer_is_settled_by_the_next_look(market, spot_server, rival, api_of, kind):
    """Acted on or not, the bid ends up right, and is not sent again and again."""
    server, least = spot_server
    api = api_of(market)
    order = bids(api, server, least)
    bids(rival, server, least + 0.5)
    for fault in ("act_then_500", "cut_before", "500", "act_then_cut"):
        api.fault("set_spot_price", fault)
    play = Play(api, order, (seen("begins", "trouble", "runs"), nothing))
    play.run(max_per_day=least + 2)
    assert bid_of(api, server, order) == pytest.approx(least + 0.5 + TICK, abs=1e-9)
    assert len(api.entries("set_spot_price")) == 1

    market.clear_faults()
    api.fault("set_spot_price", "500")
    bids(api_of(market), server, least + 0.7)
    play = Play(api, order, (seen("begins", "trouble", "raised", "runs"), nothing))
    play.run(max_per_day=least + 2)
    assert len(api.entries("set_spot_price")) == 3


def test_trouble_passes(market, spot_server, api_of, kind):
    """Told once, gone on; a key that is not known ends it."""
    server, least = spot_server
    api = api_of(market, max_retries=0)
    order = bids(api, server, least)
    play = Play(
        api,
        order,
        (seen("runs"), lambda: api.fault("spot_marketplace", "rate_limited", times=3)),
        (seen("trouble"), lambda: api.fault("spot_marketplace", "html_502", times=2)),
        (lambda p: p.kinds.count("trouble") == 2 and p.kinds[-1] == "runs", nothing),
    )
    play.run(max_per_day=least + 1)

    stranger = api_of(market, api_key="nobody-has-this-key")
    with pytest.raises(AuthError):
        stranger.spot_auto(order, max_per_day=1.0)


def test_it_ends_with_its_order(market, spot_server, api_of, kind):
    """Cancelled elsewhere: the report says what it spent."""
    server, least = spot_server
    api = api_of(market)
    order = bids(api, server, least)

    play = Play(
        api,
        order,
        (seen("runs"), lambda: market.advance(3600)),
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
    """By another client of the account: the one that steers is busy."""
    with CloreAI(api.key, api.market.base_url) as same:
        same.rate_limiter.min_interval = 0
        for order in same.my_orders():
            same.cancel_order(order.id)


def test_on_demand_and_a_host_that_is_gone(market, spot_server, api_of, kind):
    """No bid helps: none is made, and both are told apart."""
    server, least = spot_server
    api = api_of(market)
    order = bids(api, server, least)
    play = Play(
        api,
        order,
        (seen("runs"), lambda: market.set_rented(server, True)),
        (seen("waits"), lambda: market.set_rented(server, False)),
        (seen("waits", "runs"), lambda: market.set_online(server, False)),
        (seen("offline"), lambda: market.set_online(server, True)),
        (seen("offline", "runs"), nothing),
    )
    report = play.run(max_per_day=least + 1)
    assert api.entries("set_spot_price") == []
    assert report.outbids == 2


def test_what_is_no_spot_order_of_ours(market, spot_server, api_of, kind):
    """Said before anything is asked of the auction."""
    server, _least = spot_server
    api = api_of(market)
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


def test_the_limit_has_to_fit_in_the_budget(market, spot_server, api_of, kind):
    """Bidding up is spending, so it is checked before the first bid."""
    server, least = spot_server
    api = api_of(market)
    order = api.rent(server, type="spot", currency=USD, spot_price=least, lease_h=1).id
    api.ledger.set_budget(Budget(USD, "month", least))
    with pytest.raises(BudgetError, match="Over your budget"):
        api.spot_auto(order, max_per_day=least * 100)
    assert api.spot_auto(order, max_per_day=least * 2, for_s=0.1).ended == "deadline"


def test_two_do_not_steer_one_order(market, spot_server, api_of, kind, tmp_path):
    """They would bid against each other's plans; whoever comes second is told."""
    server, least = spot_server
    api = api_of(market, state=tmp_path)
    order = bids(api, server, least)
    same = api_of(market, state=tmp_path, api_key=api.key)
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
    assert "steers order" in str(failed[0])


def test_what_was_seen_is_kept_for_the_next_command(market, spot_server, api_of, kind, tmp_path):
    """With a state folder the report of a later one goes on from the first look."""
    server, least = spot_server
    first = api_of(market, state=tmp_path)
    order = bids(first, server, least)
    assert first.spot_auto(order, max_per_day=least + 1, for_s=0.1).held_s < 30
    market.advance(3600)
    later = api_of(market, state=tmp_path, api_key=first.key)
    report = later.spot_auto(order, max_per_day=least + 1, for_s=0.1)
    assert report.held_s == pytest.approx(3600, abs=30)
    assert report.spend == pytest.approx(least / 24, rel=0.05)


# -- the fallback ----------------------------------------------------------------------------------


def test_on_demand_instead(market, spot_server, rival, api_of, kind):
    """Rented once, with purpose and what is left of the lease; the old order ends only then."""
    server, least = spot_server
    api = api_of(market)
    order = api.rent(
        server, type="spot", currency=USD, spot_price=least, purpose="training", lease_h=5
    ).id
    bids(rival, server, least + 9)
    play = Play(api, order)
    report = play.run(max_per_day=least + 1, fallback=Fallback("on-demand", after_s=0.2))
    assert report.ended == "fallback"
    new = report.new_order
    assert (new.type, new.server_id, new.currency) == ("on-demand", server, USD)
    assert [o.id for o in api.my_orders()] == [new.id]
    old, intent = api.ledger.by_order(order), api.ledger.by_order(new.id)
    assert (intent.purpose, intent.untold) == ("training", False)
    assert intent.ends_at == pytest.approx(old.ends_at, abs=5)
    created, cancelled = api.entries("create_order")[-1], api.entries("cancel_order")
    assert [e.body["id"] for e in cancelled] == [order]
    assert created.number < cancelled[0].number
    assert play.kinds[-2:] == ["rented", "ends"]


def test_another_server_instead_is_steered_on(market, spot_server, rival, api_of, kind):
    """Same GPUs, the lowest bid that runs within the limit."""
    api = api_of(market)
    servers = api.marketplace()
    free = [s for s in servers if s.price_per_day(USD, "spot") and s.mrl > 48 and not s.gigaspot]
    old, like = next(
        (a, b)
        for a in free
        for b in free
        if a.id != b.id
        and a.gpu_model == b.gpu_model
        and a.gpu_count == b.gpu_count
        and b.reliability >= a.reliability
    )
    limit = 2 * max(s.price_per_day(USD, "spot") for s in (old, like))
    order = bids(api, old.id, old.price_per_day(USD, "spot"))
    market.set_rented(old.id, True)
    play = Play(api, order, (seen("waits", "rented", "begins", "runs"), nothing))
    report = play.run(max_per_day=limit, fallback=Fallback("server", after_s=0.1))
    assert report.ended == "stopped"
    assert report.moved_from.order_id == order
    assert report.moved_from.ended == "fallback"
    (left,) = api.my_orders()
    assert left.id == report.order_id
    assert left.server_id != old.id
    assert left.gpu_model == old.gpu_model
    assert left.price <= limit


@pytest.mark.parametrize("fault", ["act_then_500", "act_then_cut", "500", "rate_limited"])
def test_the_fallback_never_rents_twice(market, spot_server, rival, api_of, kind, fault):
    """Whatever happens to the answer: one new order, and the old one ends; or the old one stays."""
    server, least = spot_server
    api = api_of(market)
    api.client.session.look_for_s = 0.5
    order = bids(api, server, least)
    bids(rival, server, least + 9)
    api.fault("create_order", fault)
    script = [(seen("trouble"), nothing)] if fault == "500" else []
    play = Play(api, order, *script)
    report = play.run(max_per_day=least + 1, fallback=Fallback("on-demand", after_s=0.1))
    (left,) = api.my_orders()
    made = [e.order for e in api.entries("create_order") if e.order is not None]
    if fault == "500":  # nothing came of it, and as nobody can know that, it is not sent again
        assert (left.id, made) == (order, [order])
        assert "not known whether" in play.events[-2].message
        assert len(api.entries("create_order")) == 2
    else:
        assert report.new_order.id == left.id
        assert made == [order, left.id]


def test_a_fallback_that_costs_too_much_is_none(market, spot_server, rival, api_of, kind):
    """The old order goes on, and why is said."""
    server, least = spot_server
    api = api_of(market)
    order = bids(api, server, least)
    bids(rival, server, least + 9)
    play = Play(api, order, (seen("beaten", "trouble"), nothing))
    play.run(
        max_per_day=least + 1,
        fallback=Fallback("on-demand", after_s=0.1, max_usd_per_hour=0.0001),
    )
    (said,) = [e.message for e in play.events if e.event == "trouble"]
    assert "more than $0.0001/h" in said
    assert [o.id for o in api.my_orders()] == [order]
    with pytest.raises(InvalidInputError):
        Fallback("elsewhere")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="ssh_password"):
        Fallback("server", ssh_password="x" * 40)
