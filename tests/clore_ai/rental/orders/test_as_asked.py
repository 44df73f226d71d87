"""An order is compared with the request; by hand, since our marketplace never differs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from by_hand import Hand, ok, row

from clore_ai._api.order_request import OrderRequest
from clore_ai._state.ledger import Ledger
from clore_ai.exceptions import BudgetError, CloreAPIError
from clore_ai.rental.orders.create import create
from clore_ai.rental.session import Session

WANTED = OrderRequest(
    server_id=5, image="a/b", type="on-demand", currency="bitcoin", required_price=2.0
)


def made(wanted: dict[str, Any] = WANTED, cancel: object = None, **fields: object) -> Any:
    """Create an order that the service returns as this row: the hand, the session, the result."""
    listed = row(9, **{"image": "a/b", "price": 2.0, **fields})

    def service(call: Any, _now: float) -> object:
        if call.path == "create_order":
            listed["here"] = True
        if call.path == "cancel_order":
            if cancel is not None:
                return cancel
            listed["expired"] = True
        return ok(orders=[listed] if "here" in listed else [])

    hand, session = Hand(service), Session(ledger=Ledger())
    try:
        return hand, session, hand.play(create(session, wanted))
    except CloreAPIError as exc:
        return hand, session, exc


def test_an_order_as_requested_gives_no_message():
    for fields in ({}, {"image": "a/b:latest"}, {"type": "on_demand"}, {"price": 1.5}):
        hand, session, order = made(**fields)
        assert order.id == 9
        assert session.trouble == []
        assert "cancel_order" not in hand.paths


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"image": "c/d"}, "its image is c/d, not a/b"),
        ({"currency": "CLORE-Blockchain"}, "its currency is CLORE-Blockchain, not bitcoin"),
        ({"type": "spot"}, "its type is spot, not on-demand"),
    ],
)
def test_a_different_order_is_reported_once_and_kept(fields, said):
    hand, session, order = made(**fields)
    assert order.id == 9
    assert session.trouble == [f"Order 9 differs from its request: {said}."]
    assert "cancel_order" not in hand.paths


def test_an_order_above_the_agreed_price_is_cancelled():
    """Rounding is tolerated; the error names the order and the agreed price."""
    _, _, order = made(price=2.0001)
    assert order.id == 9
    hand, session, exc = made(price=2.5)
    assert isinstance(exc, BudgetError)
    assert "Order 9 on server 5 costs 2.5 bitcoin/day, above the 2 that was agreed" in str(exc)
    assert hand.paths.count("cancel_order") == 1
    assert session.ledger.running() == []


def test_an_expensive_order_that_cannot_be_cancelled_is_named():
    _, session, exc = made(price=2.5, cancel=ok(code=1))
    assert "clore cancel 9" in str(exc)
    assert [intent.order_id for intent in session.ledger.running()] == [9]


def test_without_an_agreed_price_nothing_is_compared():
    wanted = replace(WANTED, required_price=None)
    assert made(wanted, price=1e6)[2].id == 9


def test_a_bid_is_the_agreed_price():
    wanted = OrderRequest(server_id=5, image="a/b", type="spot", currency="bitcoin", spot_price=1.0)
    assert isinstance(made(wanted, price=1.1)[2], BudgetError)
