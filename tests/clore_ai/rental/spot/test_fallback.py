"""The replacement of an order that is outbid for too long: rented once, within the limits."""

from __future__ import annotations

import pytest
from steer import USD, Play, bids, nothing, seen

from clore_ai import Fallback
from clore_ai.exceptions import InvalidInputError
from clore_ai.models.records import Budget


def test_on_demand_instead(place, spot_server, rival, api_of, kind):
    """It has the purpose and the rest of the lease; only then does the old order end."""
    server, least = spot_server
    api = api_of(place)
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
    assert (intent.purpose, intent.unacknowledged) == ("training", False)
    assert intent.ends_at == pytest.approx(old.ends_at, abs=5)
    created, cancelled = api.entries("create_order")[-1], api.entries("cancel_order")
    assert [e.body["id"] for e in cancelled] == [order]
    assert created.number < cancelled[0].number
    assert play.kinds[-2:] == ["rented", "ends"]


def test_another_server_instead_is_steered(place, spot_server, rival, api_of, kind):
    """It has the same GPUs, with the lowest bid that runs within the limit."""
    api = api_of(place)
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
    place.set_rented(old.id, True)
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
def test_the_fallback_never_rents_twice(place, spot_server, rival, api_of, kind, fault):
    """Whatever the answer: one new order is made and the old one ends, or the old one stays."""
    server, least = spot_server
    api = api_of(place)
    api.client.session.look_for_s = 0.5
    order = bids(api, server, least)
    bids(rival, server, least + 9)
    api.fault("create_order", fault)
    script = [(seen("trouble"), nothing)] if fault == "500" else []
    play = Play(api, order, *script)
    report = play.run(max_per_day=least + 1, fallback=Fallback("on-demand", after_s=0.1))
    (left,) = api.my_orders()
    made = [e.order for e in api.entries("create_order") if e.order is not None]
    if fault == "500":  # no order was made, but as that is uncertain, the request is not repeated
        assert (left.id, made) == (order, [order])
        assert "not known whether" in play.events[-2].message
        assert len(api.entries("create_order")) == 2
    else:
        assert report.new_order.id == left.id
        assert made == [order, left.id]


def test_a_fallback_above_the_limit_is_not_rented(place, spot_server, rival, api_of, kind):
    """The old order continues, and the reason is reported."""
    server, least = spot_server
    api = api_of(place)
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


def test_an_exhausted_budget_or_lease_prevents_the_fallback(
    place, spot_server, rival, api_of, kind
):
    """The reason is reported, and the old order stays as it is."""
    server, least = spot_server
    api = api_of(place)
    order = api.rent(server, type="spot", currency=USD, spot_price=least, lease_h=0.5).id
    bids(rival, server, least + 9)
    said: list[str] = []

    def reported(play: Play) -> bool:
        said[:] = [e.message for e in play.events if e.event == "trouble"]
        return bool(said)

    api.ledger.set_budget(Budget(USD, "day", least / 24))
    instead = Fallback("on-demand", after_s=0.1)
    Play(api, order, (reported, nothing)).run(max_per_day=least, fallback=instead)
    assert "Over your budget" in said[0]
    api.ledger.unset_budget(Budget(USD, "day", 0))
    place.advance(1795)
    Play(api, order, (reported, nothing)).run(max_per_day=least, fallback=instead)
    assert "lease has ended" in said[0]
    assert [o.id for o in api.my_orders()] == [order]
    assert len(api.entries("create_order")) == 1


def test_without_another_server_the_order_stays(place, spot_server, rival, api_of, kind):
    """No other server is within the limit: reported once per try, and nothing is rented."""
    server, least = spot_server
    api = api_of(place)
    order = bids(api, server, least)
    bids(rival, server, least + 9)
    play = Play(api, order, (seen("beaten", "trouble"), nothing))
    play.run(max_per_day=least * 0.001, fallback=Fallback("server", after_s=0.1))
    assert "No other server with" in next(e for e in play.events if e.event == "trouble").message
    assert [o.id for o in api.my_orders()] == [order]
