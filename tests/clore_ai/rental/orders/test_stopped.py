"""A stop during a `Local` is raised by the next step, and loses no order."""

from __future__ import annotations

import pytest
from by_hand import Hand, ok, reply, row

from clore_ai._api.order_request import OrderRequest
from clore_ai._api.steps import Local
from clore_ai.models import Order
from clore_ai.rental import machine
from clore_ai.rental.orders.create import RentalTerms, create
from clore_ai.rental.session import Session

WANTED = OrderRequest(5, "i", "on-demand", "bitcoin", ssh_key="ssh-ed25519 AAAA")


class Stopping(Hand):
    """Stops the flow once, at the first step after the local work with this number."""

    def __init__(self, number: int, answers: object) -> None:
        super().__init__(answers)
        self.left: int | None = number

    def _perform(self, step: object) -> object:
        if isinstance(step, Local):
            self.left = None if self.left is None else self.left - 1
        elif self.left is not None and self.left <= 0:
            self.left = None
            raise KeyboardInterrupt
        return super()._perform(step)


def answers(call, _now):
    """A service that creates order 7 when requested."""
    if call.path == "create_order":
        answers.created = True
        return ok()
    return ok(orders=[row(7)] if answers.created else [])


@pytest.mark.parametrize("ref", [None, "job"])
def test_a_stop_at_any_point_loses_no_order(ref):
    """The next look settles its intent, or it is marked as possibly unknown to the user."""
    for number in range(1, 100):
        answers.created, session = False, Session()
        hand = Stopping(number, answers)
        try:
            hand.play(create(session, WANTED, RentalTerms(client_ref=ref)))
        except KeyboardInterrupt:
            kept = session.ledger.intents()
            assert all(i.state != "created" or i.unacknowledged for i in kept)
            assert len(kept) == 1 or not answers.created
        else:
            assert hand.left is not None, f"stop {number} was never raised"
            break
        assert hand.paths.count("create_order") <= 1
    assert number > 8


def test_an_order_whose_end_was_not_seen_is_reported_again():
    """This holds even if the flow is closed and can take no further step."""
    for stop in (KeyboardInterrupt, GeneratorExit):
        answers.created, session = False, Session()
        order = Hand(answers).play(create(session, WANTED))

        def gone(call, now, stop=stop):
            return stop() if call.path == "cancel_order" else reply({"code": 0, "orders": []})

        with pytest.raises(stop):
            Hand(gone).play(machine.finish(session, Order.model_validate({"id": order.id})))
        assert [i.unacknowledged for i in session.ledger.running()] == [True]
