"""`client.reap` ends orders past their limits, `client.cancel_all` all; for both clients."""

from __future__ import annotations

import time

import pytest

from clore_ai._api.steps import clock
from clore_ai.exceptions import AuthError

BOTH_CLIENTS = True


def test_only_orders_past_a_limit_are_ended(api_of, own_market, server_of, tmp_path):
    """`dry_run` reports them and sends no cancel; an order within its lease runs on."""
    market = own_market(provision=False)
    api = api_of(market, state=tmp_path)
    past, other = api.rent(server_of(market), lease_h=2), api.rent(server_of(market), lease_h=9)
    assert api.reap() == []
    market.advance(3 * 3600)
    (shown,) = api.reap(dry_run=True)
    assert (shown.what, shown.limit.intent.order_id, shown.limit.reason) == (
        "over", past.id, "lease",
    )  # fmt: skip
    assert api.entries("cancel_order") == []
    assert api.drive(clock()).wall > time.time() + 3600, "later calls know the service's clock"
    heard = []
    events = api.reap(on_event=heard.append)
    assert heard == events
    assert [event.what for event in events] == ["ending", "cancelled"]
    done = events[-1].cancelling
    assert (done.order_id, done.gone, done.why) == (past.id, True, "lease over")
    assert [o.id for o in api.my_orders() if o.active] == [other.id]
    assert api.reap() == []


def test_it_goes_on_until_its_time_is_over(api_of, own_market, server_of, tmp_path):
    """An error of the service is reported and retried, and the order is ended nevertheless."""
    market = own_market(provision=False)
    api = api_of(market, state=tmp_path)
    order = api.rent(server_of(market), lease_h=2)
    market.advance(3 * 3600)
    api.fault("my_orders", "500", times=1)
    events = {event.what: event for event in api.reap(every=0.2, timeout=1)}
    assert set(events) == {"ending", "cancelled", "trouble"}
    assert events["cancelled"].cancelling.order_id == order.id
    assert "the service failed" in events["trouble"].message
    assert [o.id for o in api.my_orders() if o.active] == []


def test_what_it_refuses(api_of, own_market):
    """A time that is not above 0, and a key that the service does not know."""
    market = own_market(provision=False)
    api = api_of(market)
    for wrong in ({"every": 0}, {"every": 1, "timeout": -1}):
        with pytest.raises(ValueError, match="above 0"):
            api.reap(**wrong)
    with pytest.raises(AuthError):
        api_of(market, api_key="unknown").reap()


def test_all_orders_of_the_ledger_are_cancelled(api_of, own_market, server_of, tmp_path):
    """One that the ledger does not know runs on, but for `others`."""
    market = own_market(provision=False)
    api = api_of(market, state=tmp_path / "here")
    elsewhere = api_of(market, api_key=api.key, state=tmp_path / "elsewhere")
    assert api.cancel_all() == []
    mine = {api.rent(server_of(market)).id for _ in range(2)}
    other = elsewhere.rent(server_of(market)).id
    done = api.cancel_all(issue="slow")
    assert {each.order_id for each in done if each.gone} == mine
    assert all(each.bill.currency == "bitcoin" for each in done)
    assert [o.id for o in api.my_orders() if o.active] == [other]
    assert [(each.order_id, each.gone) for each in api.cancel_all(others=True)] == [(other, True)]
