"""Calls with one `client_ref` make one order; calls for one server take turns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from by_hand import WALL, Hand, cut, row

from clore_ai._api.steps import Flow, Send, Sleep
from clore_ai.exceptions import FieldError, OrderUncertain
from clore_ai.rental.orders.create import RentalTerms, create
from clore_ai.rental.session import Session

from .service import REFUSALS, WANTED, Service, rent


def test_a_client_ref_given_twice_is_one_order():
    """The second call returns the first's order in its current state."""
    session = Session()
    service = Service(after=lambda now: [row(9, expired=now > 0)])
    assert rent(service, session, "job-1")[2].id == 9
    hand, _, again = rent(service, session, "job-1")
    assert again.id == 9
    assert service.created == 1
    assert "create_order" not in hand.paths


def test_another_client_ref_is_another_order():
    """Two orders without a `client_ref` are also separate."""
    session = Session()
    rows = [row(8)]
    service = Service(after=lambda _now: rows[: service.created])
    for number, ref in enumerate(["a", "b", None, None], start=1):
        rows = [row(8 + i) for i in range(number)]
        assert rent(service, session, ref)[2].id == 7 + number
    assert service.created == 4


def test_a_client_ref_that_was_refused_is_free_again():
    """Nothing was rented under that name."""
    session = Session()
    with pytest.raises(FieldError):
        rent(Service(post=REFUSALS["code 6"][0]), session, "job-1")
    assert rent(Service(after=lambda _now: [row(9)]), session, "job-1")[2].id == 9


def test_an_uncertain_client_ref_is_searched_for_and_not_sent():
    """The order may still appear; until then nothing is rented under that name."""
    session, lost = Session(), Service(post=cut())
    with pytest.raises(OrderUncertain):
        rent(lost, session, "job-1")
    with pytest.raises(OrderUncertain):
        rent(lost, session, "job-1")
    lost.after = lambda now: [row(9)] if now > 5 else []
    assert rent(lost, session, "job-1")[2].id == 9
    assert lost.created == 1


def test_concurrent_calls_with_one_client_ref_rent_once():
    """The second waits for the first, and does not claim an older order of the server."""
    service = Service(before=[row(3, ct=WALL - 3600)], after=lambda _now: [row(9)])
    session, hand = Session(), Hand(service)
    first, second = (
        create(session, WANTED, RentalTerms("job-1")),
        create(session, WANTED, RentalTerms("job-1")),
    )
    sent = hand.until(first, Send)  # the first request is on its way
    hand.until(second, Sleep)
    assert hand.play(_go_on(first, hand.answers(sent.call, 0))).id == 9
    assert hand.play(_go_on(second, None)).id == 9
    assert service.created == 1
    assert len(session.ledger.intents()) == 1


def test_the_second_call_continues_if_the_first_is_refused():
    """A refused intent blocks no other."""
    session, service = Session(), Service(after=lambda _now: [row(9)])
    hand = Hand(service)
    first, second = (
        create(session, WANTED, RentalTerms("job-1")),
        create(session, WANTED, RentalTerms("job-1")),
    )
    hand.until(first, Send)
    hand.until(second, Sleep)
    first.close()
    assert hand.play(_go_on(second, None)).id == 9


def test_concurrent_rentals_of_one_server_take_turns():
    """Neither claims the other's order."""
    session, hand = Session(), Hand(Service())
    first, second = create(session, WANTED), create(session, WANTED)
    hand.until(first, Send)
    hand.until(second, Sleep)
    other = create(session, replace(WANTED, server_id=6))
    assert isinstance(hand.until(other, Send), Send)  # another server is not affected
    for flow in (first, second, other):
        flow.close()
    assert session.ledger.intents() == []


def _go_on(flow: Flow[Any], answer: object) -> Flow[Any]:
    """Continue a flow that was stepped by hand and waits for `answer`."""
    try:
        step = flow.send(answer)
        while True:
            step = flow.send((yield step))
    except StopIteration as stop:
        return stop.value
