"""`client.monitor` can end orders that are idle for too long or reach a limit, in both clients."""

from __future__ import annotations

BOTH_CLIENTS = "soak"


def test_an_idle_order_is_cancelled_after_a_view_announced_it(api_of, own_market, tmp_path):
    """This needs `idle_cancel`; the events carry the result."""
    market = own_market()
    api = api_of(market, state=tmp_path)
    rental = api.renting("RTX", verify="ssh")
    rental.start()
    order, said = rental.order.id, []
    with api.stream("monitor", order_ids=[order], every=0.3, timeout=60, idle_cancel=1) as views:
        for view in views:
            said += view.events
            if said[-1:] and said[-1].what == "idle_over":
                assert order in [o.id for o in api.my_orders() if o.active]
    what = [event.what for event in said]
    assert what.index("idle") < what.index("idle_over") < what.index("cancelled")
    (done,) = (event for event in said if event.what == "cancelled")
    assert (done.order_id, done.cancelling.gone, done.reason) == (order, True, "cancelled here")
    assert [e.status for e in api.entries("cancel_order")] == [200]


def test_an_order_at_its_limit_is_ended_only_if_asked(api_of, own_market, server_of, tmp_path):
    """With `limits` the watched orders are ended at the limit that the event carries."""
    market = own_market(provision=False)
    api = api_of(market, state=tmp_path)
    first, other = (api.rent(server_of(market), lease_h=2).id for _ in range(2))
    market.advance(3 * 3600)
    with api.stream("monitor", order_ids=[first], every=0.1, timeout=1, gpus=False) as views:
        assert {e.what for view in views for e in view.events} <= {"order", "state", "lease_near"}
    options = {"order_ids": [first], "every": 0.1, "timeout": 30, "gpus": False, "limits": True}
    with api.stream("monitor", **options) as views:
        events = [event for view in views for event in view.events]
    (done,) = (event for event in events if event.what == "cancelled")
    assert (done.order_id, done.limit.reason, done.reason) == (first, "lease", "lease over")
    assert [o.id for o in api.my_orders() if o.active] == [other]
