"""A cancel is done when the order has ended; one that fails does not stop the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Callable

import pytest
from by_hand import WALL, Hand, cut, ok, refused, reply, row

from clore_ai.exceptions import FieldError, InvalidInputError, WaitTimeout
from clore_ai.models.records import Intent
from clore_ai.rental.orders.cancel import Cancelling, until_gone
from clore_ai.rental.orders.recover import answer
from clore_ai.rental.session import Session


class Service:
    """Runs `ids`; a cancelled order is listed as running for `lingers_s` more, then as ended."""

    def __init__(
        self, *ids: int, lingers_s: float = 0.0, odd: Callable[..., Any] = lambda *_: None
    ):
        self.ids, self.lingers_s, self.odd = ids, lingers_s, odd
        self.ended: dict[int, float] = {}

    def __call__(self, call, now):
        odd = self.odd(call, now, self)
        if odd is not None:
            return odd
        if call.path == "my_orders":
            return ok(orders=[self._row(i, now) for i in self.ids])
        order_id = call.body["id"]
        if order_id not in self.ids:
            return reply({"code": 6, "error": "you_dont_own_this_order"})
        if order_id in self.ended:
            return reply({"code": 6, "error": "order_not_active"})
        self.ended[order_id] = now
        return ok()

    def _row(self, order_id, now):
        ended = order_id in self.ended and now >= self.ended[order_id] + self.lingers_s
        end = {"expired": True, "order_end": WALL + now, "spend": 0.5} if ended else {}
        return row(order_id, **end)


def end(service: Service, *ids: int, **options: Any) -> tuple[Hand, list[Cancelling]]:
    hand, todo = Hand(service), [Cancelling(i) for i in ids or service.ids]
    hand.play(until_gone(options.pop("session", Session()), todo, **options))
    return hand, todo


@pytest.mark.parametrize("lingers_s", [0, 4, 50])
def test_cancel_waits_until_the_order_has_ended(lingers_s):
    """One cancel is sent, then the list is read; the last row says what was spent."""
    hand, (one,) = end(Service(7, lingers_s=lingers_s))
    assert (one.gone, one.error, one.order.spend) == (True, None, 0.5)
    assert hand.paths.count("cancel_order") == 1
    assert lingers_s <= hand.now <= lingers_s + 3


def test_an_order_that_still_runs_at_the_deadline_is_named():
    """`WaitTimeout` carries the order, which may be billed."""
    hand, (one,) = end(Service(7, lingers_s=1000), timeout_s=20)
    assert not one.gone
    assert isinstance(one.error, WaitTimeout)
    assert (one.error.order.id, hand.now <= 20) == (7, True)
    assert "clore cancel 7" in str(one.error)


def test_several_cancels_share_the_looks_and_survive_a_refusal():
    """Each order is cancelled once, however often the list is read."""
    hand, todo = end(Service(7, 9, lingers_s=3), 7, 8, 9)
    assert [each.gone for each in todo] == [True, False, True]
    assert isinstance(todo[1].error, FieldError)
    assert hand.paths.count("cancel_order") == 3


def test_a_found_order_is_cancelled_only_once_it_is_gone():
    """One that still runs is reported as such, and again by the next command."""
    session, hand = Session(), Hand(Service(7, lingers_s=1000))
    intent = Intent(5, "on-demand", "bitcoin", "i", state="created", order_id=7, started_at=WALL)
    session.ledger.open(replace(intent, unacknowledged=True))
    found = hand.play(answer(session, 7, cancels=True))
    assert (found.gone, type(found.error)) == (False, WaitTimeout)
    assert [i.order_id for i in session.ledger.unacknowledged()] == [7]
    found = Hand(Service(7, lingers_s=4)).play(answer(session, 7, cancels=True))
    assert found.gone
    assert found.in_words().startswith("Cancelled: order 7. It ran")
    assert session.ledger.unacknowledged() == []


@pytest.mark.parametrize("acted", [True, False])
@pytest.mark.parametrize("lost", [cut(), reply({"code": 1}, 500)])
def test_a_cancel_is_retried_until_its_answer_arrives(lost, acted):
    """This goes on until the deadline, beyond the usual number of retries."""
    left = [9]

    def odd(call, now, service):
        if call.path != "cancel_order" or left[0] == 0:
            return None
        left[0] -= 1
        if acted:
            service.ended.setdefault(7, now)
        return lost

    _, (one,) = end(Service(7, odd=odd))
    assert (one.gone, one.error) == (True, None)


def test_a_cancel_without_any_answer_times_out():
    """The error says that the result is unknown, the deadline and the last reason."""
    odd = lambda call, *_: cut() if call.path == "cancel_order" else None  # noqa: E731
    _, (one,) = end(Service(7, odd=odd))
    assert isinstance(one.error, WaitTimeout)
    assert "(last: cut)" in str(one.error)


def test_failed_reads_are_repeated():
    """A network error says nothing about the order."""
    odd = lambda call, now, _: cut() if call.path == "my_orders" and now < 30 else None  # noqa: E731
    _, (one,) = end(Service(7, odd=odd))
    assert one.gone


def test_an_order_that_had_ended_before_is_refused():
    """This cancel did not end it."""
    service = Service(7)
    service.ended[7] = -100.0
    _, (one,) = end(service)
    assert one.error.error == "order_not_active"


def test_the_issue_is_checked_before_anything_is_sent():
    """It has at most 2,048 characters."""
    hand = Hand(Service(7))
    with pytest.raises(InvalidInputError):
        hand.play(until_gone(Session(), [Cancelling(7)], "x" * 2049))
    assert hand.sent == []
    hand.play(until_gone(Session(), [Cancelling(7)], "x" * 2048))
    assert hand.sent[0].body["issue"] == "x" * 2048


def test_the_ledger_records_the_end():
    """The amount spent is the service's."""
    session = Session()
    intent = Intent(5, "on-demand", "bitcoin", "i", state="created", order_id=7, started_at=WALL)
    session.ledger.open(intent)
    end(Service(7), session=session)
    (kept,) = session.ledger.intents()
    assert (kept.runs, kept.spend) == (False, 0.5)


REFUSED = [
    reply(b"error code: 1010", 403), reply({}, 403), reply(b"<html>", 404), reply({"code": 4}),
    reply({"code": 5}, 429), reply({"code": 6}), reply({"code": 6, "error": "of_tomorrow"}),
    reply({}, 408), reply(b"", 413), refused(),
]  # fmt: skip


@pytest.mark.parametrize("answer", REFUSED, ids=str)
def test_errors_that_are_not_about_the_order_are_retried(answer):
    """A CDN's page, the rate limit, a refusal without a reason: the order still costs money."""
    _, (one,) = end(Service(7, odd=_refusing(answer, 30)))
    assert (one.gone, one.error) == (True, None)


@pytest.mark.parametrize("answer", REFUSED, ids=str)
def test_a_lasting_refusal_names_the_order_and_the_next_step(answer):
    _, (one,) = end(Service(7, odd=_refusing(answer, 1e9)))
    assert isinstance(one.error, WaitTimeout)
    assert "clore cancel 7" in str(one.error)
    assert one.error.order.id == 7


def _refusing(answer, until_s):
    def odd(call, now, _service):
        return answer if call.path == "cancel_order" and now < until_s else None

    return odd
