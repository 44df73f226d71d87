"""A later list of orders settles the intents of earlier requests."""

from __future__ import annotations

from by_hand import WALL, Hand, cut, ok, row

from clore_ai._api.waits import WAITS
from clore_ai.rental.orders import reconcile
from clore_ai.rental.session import Session

from .service import Service, rent, uncertain


def test_an_order_of_an_earlier_request_is_not_claimed():
    """An order of a lost request that appears late belongs to that request, not to the next."""
    session = Session(look_for_s=1)
    uncertain(Service(post=cut()), session)
    session.look_for_s = 30
    late = Service()
    late.after = lambda now: [row(8)] * (now > 4) + [row(9, ct=WALL + 8)] * (late.created > 1)
    late.created = 1  # the lost request
    assert rent(late, session)[2].id == 9
    assert [(i.state, i.order_id) for i in session.ledger.intents()] == [
        ("created", 8),
        ("created", 9),
    ]


def test_a_later_order_made_elsewhere_is_not_claimed():
    """An order on the same server, made long after the lost request, has another origin."""
    session = Session(look_for_s=1)
    uncertain(Service(post=cut()), session)
    rows = [row(9, ct=WALL + 3600)]
    Hand(lambda _call, _now: ok(orders=rows)).play(reconcile.orders(session))
    assert [(i.state, i.order_id) for i in session.ledger.intents()] == [("uncertain", None)]


def test_a_later_look_settles_an_uncertain_intent():
    """Any list of orders finds it; if ended ones are listed too, its absence settles it later."""
    found, nothing = Session(look_for_s=1), Session(look_for_s=1)
    for session in (found, nothing):
        uncertain(Service(post=cut()), session)
    Hand(lambda _call, _now: ok(orders=[row(9)])).play(reconcile.orders(found))
    assert [(i.state, i.order_id) for i in found.ledger.intents()] == [("created", 9)]
    assert [i.order_id for i in found.found] == [9]
    later = Hand(lambda _call, _now: ok(orders=[]), now=WAITS.nothing_came_after_s + 60)
    later.play(reconcile.orders(nothing))
    assert [i.state for i in nothing.ledger.intents()] == ["uncertain"]
    later.play(reconcile.orders(nothing, include_completed=True))
    assert [(i.state, i.reason) for i in nothing.ledger.intents()] == [
        ("refused", "no order came of it")
    ]


def test_the_amount_spent_comes_from_the_service():
    """A look records `spend`, the end of the lease, and the end of the order."""
    session = Session()
    rent(Service(after=lambda _now: [row(9)]), session)
    session.ledger.update(session.ledger.running()[0], lease_s=3600.0, ends_at=None)
    rows = [row(9, spend=0.5, creation_fee=0.1)]
    Hand(lambda _call, _now: ok(orders=rows)).play(reconcile.orders(session))
    (intent,) = session.ledger.running()
    assert (intent.spend, intent.creation_fee, intent.ends_at) == (0.5, 0.1, WALL + 3600)
    rows = [row(9, spend=0.7, expired=True, order_end=WALL + 99)]
    Hand(lambda _call, _now: ok(orders=rows)).play(
        reconcile.orders(session, include_completed=True)
    )
    assert session.ledger.running() == []
    (intent,) = session.ledger.intents()
    assert (intent.spend, intent.ended_at) == (0.7, WALL + 99)
