"""Why an order ended: from its row, its wallet, its auction and the ledger; else elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from by_hand import WALL, Hand, cut, ok, reply, row

from clore_ai.exceptions import FieldError
from clore_ai.models import Order
from clore_ai.models.records import Intent
from clore_ai.rental.orders import cancel, ending, reconcile
from clore_ai.rental.orders.ending import Evidence, sentence, why
from clore_ai.rental.session import Session

USD = "USD-Blockchain"
PRICE = 14.4
"""A cent a minute."""


def raw(**fields: Any) -> dict[str, Any]:
    known = {"currency": USD, "price": PRICE, "mrl": 7200, "expired": True}
    return row(7, **{**known, "order_end": WALL + 3600, "spend": 0.6, **fields})


@pytest.mark.parametrize(
    ("fields", "seen", "reason"),
    [
        ({}, Evidence(), ending.ELSEWHERE),
        ({"order_end": WALL + 7200}, Evidence(0.0), ending.LONGEST),
        ({"order_end": WALL + 7190}, Evidence(), ending.LONGEST),
        ({"order_end": WALL + 7000}, Evidence(5.0), ending.ELSEWHERE),
        ({"order_end": None}, Evidence(), ending.ELSEWHERE),
        ({}, Evidence(0.0104), ending.WALLET),
        ({}, Evidence(0.0106), ending.ELSEWHERE),
        ({"price": None}, Evidence(0.0), ending.ELSEWHERE),
        ({"spend": 0.1, "creation_fee": 0.1}, Evidence(0.1), ending.WALLET),
        ({"spend": 0.5, "creation_fee": 0.1}, Evidence(0.1), ending.ELSEWHERE),
        ({"spot": True}, Evidence(5.0, outbid=True), ending.OUTBID),
        ({"status": "outbid"}, Evidence(), ending.OUTBID),
    ],
)
def test_the_reason_of_an_end(fields: dict[str, Any], seen: Evidence, reason: str) -> None:
    """The longest rental, a wallet too empty for another minute, or the auction explains it."""
    assert why(Order.model_validate(raw(**fields)), seen) == reason


def test_the_sentence_has_the_next_step() -> None:
    """It names one only if there is one."""
    order = Order.model_validate(raw())
    assert "USD-Blockchain wallet is empty. Top it up" in sentence(order, ending.WALLET)
    assert sentence(order, ending.LONGEST) == (
        "Order 7 on server 5 has ended: longest rental reached."
    )
    assert "has ended elsewhere" in sentence(order, ending.ELSEWHERE)


def service(**answers: Any) -> Any:
    return lambda call, _now: answers[call.path]


def known(session: Session, **fields: Any) -> Intent:
    intent = Intent(5, "on-demand", USD, "i", state="created", order_id=7, **fields)
    session.ledger.open(intent)
    return intent


def end_of(session: Session, **answers: Any) -> str | None:
    Hand(service(**answers)).play(reconcile.orders(session, include_completed=True))
    found = session.ledger.by_order(7)
    return None if found is None else found.reason


def test_the_wallet_is_read_once_when_the_end_is_first_seen() -> None:
    """Its balance then decides; later looks do not read it, and report no end twice."""
    session = Session()
    known(session)
    empty = ok(wallets=[{"name": USD, "balance": 0.001}])
    assert end_of(session, my_orders=ok(orders=[raw()]), wallets=empty) == ending.WALLET
    assert list(session.ended) == [7]
    again = Session(ledger=session.ledger)
    assert end_of(again, my_orders=ok(orders=[raw()])) == ending.WALLET
    assert again.ended == {}


def test_an_unknown_reason_is_not_guessed() -> None:
    """The wallets do not answer."""
    session = Session()
    known(session)
    assert end_of(session, my_orders=ok(orders=[raw()]), wallets=cut()) == ending.ELSEWHERE


def test_a_higher_bid_that_runs() -> None:
    """It counts only in the order's coin, and only if it is not the user's own."""
    rich = ok(wallets=[{"name": USD, "balance": 100}])
    for offer, reason in (
        ({"bid": PRICE + 1, "active": True, "my": False, "currency": USD}, ending.OUTBID),
        ({"bid": PRICE + 1, "active": False, "my": False, "currency": USD}, ending.ELSEWHERE),
        ({"bid": PRICE + 1, "active": True, "my": True, "currency": USD}, ending.ELSEWHERE),
        ({"bid": PRICE + 1, "active": True, "my": False, "currency": "bitcoin"}, ending.ELSEWHERE),
    ):
        session = Session()
        known(session)
        market = ok(market={"offers": [{"offer_id": 1, **offer}]})
        rows = ok(orders=[raw(spot=True)])
        answers = {"my_orders": rows, "wallets": rich, "spot_marketplace": market}
        assert end_of(session, **answers) == reason


def test_our_cancel_is_recorded_with_its_reason() -> None:
    """No further request is made then."""
    for reason in (ending.CANCELLED, ending.LEASE):
        session = Session()
        known(session)
        todo = [cancel.Cancelling(7, why=reason)]
        hand = Hand(service(cancel_order=ok(), my_orders=ok(orders=[raw()])))
        hand.play(cancel.until_gone(session, todo))
        found = session.ledger.by_order(7)
        assert found is not None
        assert (found.reason, found.ended_at) == (reason, WALL + 3600)
        assert session.ended == {}
        assert hand.paths == ["cancel_order", "my_orders"]


def test_a_cancel_is_recorded_before_it_is_sent() -> None:
    """Another process may see the end first; a refusal removes the record."""
    session = Session()
    known(session)
    noted: list[str | None] = []

    def answers(_call: Any, _now: float) -> Any:
        found = session.ledger.by_order(7)
        noted.append(found and found.reason)
        return ok() if len(noted) > 1 else reply({"code": 6, "error": "order_not_active"})

    with pytest.raises(FieldError):
        Hand(answers).play(cancel.cancel(session, 7))
    found = session.ledger.by_order(7)
    assert found is not None
    assert found.reason is None
    Hand(answers).play(cancel.cancel(session, 7))
    assert noted == [ending.CANCELLED] * 2


def test_a_cancelled_order_that_is_no_longer_listed_has_ended() -> None:
    """No row says when, so the ledger has the time of the look."""
    session = Session()
    known(session)
    hand = Hand(service(cancel_order=ok(), my_orders=ok(orders=[])))
    hand.play(cancel.until_gone(session, [cancel.Cancelling(7)]))
    assert session.ledger.running() == []


def test_the_reason_of_an_uncertain_start_is_not_kept_for_the_end() -> None:
    """An order that a later look found no longer has the reason of its uncertain start."""
    session = Session()
    intent = Intent(
        5, "on-demand", USD, "i", state="uncertain", reason="no order showed up", posted_at=WALL
    )
    session.ledger.open(intent)
    Hand(service(my_orders=ok(orders=[raw(expired=False)]))).play(reconcile.orders(session))
    rich = ok(wallets=[{"name": USD, "balance": 100}])
    assert end_of(session, my_orders=ok(orders=[raw()]), wallets=rich) == ending.ELSEWHERE
