"""One order is made exactly once, whatever happens to the answer (service.md, 3)."""

from __future__ import annotations

import pytest
from by_hand import WALL, Hand, cut, ok, refused, reply, row

from clore_ai._api.steps import Rules
from clore_ai.exceptions import CloreAPIError, DBError, RateLimitError, TransportError
from clore_ai.rental.orders.create import create
from clore_ai.rental.session import Session

from .service import REFUSALS, SUCCESS, WANTED, Service, rent, uncertain

LOST = {
    "cut": cut(),
    "HTTP 500": reply({"code": 1}, 500),
    "HTML 502": reply(b"<html>", 502),
    "truncated": reply(b'{"co'),
    "an unknown code": reply({"code": 9}),
}


def test_the_order_is_found_by_server_and_time():
    """``{"code":0}`` becomes a real Order in the ledger, with one create request."""
    _, session, order = rent(Service(after=lambda _now: [row(9)]))
    assert (order.id, order.server_id) == (9, 5)
    (intent,) = session.ledger.intents()
    assert (intent.state, intent.order_id, intent.posted_at) == ("created", 9, WALL)
    assert session.ledger.unsettled() == []


def test_an_order_in_the_answer_is_returned():
    """004 says that the answer is an Order; then no list is read."""
    hand, _, order = rent(Service(post=ok(order={"id": 9, "renting_server": 5})))
    assert (order.id, order.server_id) == (9, 5)
    assert hand.paths == ["my_orders", "create_order"]


def test_an_id_in_the_answer_decides():
    """002 says that the answer holds `order_id`; no other order is accepted then."""
    rows = [row(8), row(9, server=None, ct=None)]
    _, _, order = rent(Service(post=ok(order_id=9), after=lambda _now: rows))
    assert order.id == 9


def test_an_id_that_never_shows_up_is_named():
    """The user can cancel an order by its id."""
    _, error = uncertain(Service(post=ok(order_id=9), after=lambda _now: [row(8)]))
    assert error.intent.order_id == 9
    assert "clore cancel 9" in str(error)


def test_an_unusable_order_in_the_answer_is_looked_for():
    """A success with an odd body is still a success."""
    _, _, order = rent(Service(post=ok(order={"no": "id"}), after=lambda _now: [row(9)]))
    assert order.id == 9


@pytest.mark.parametrize("appears_s", [0, 2.5, 19, 27])
def test_an_order_may_be_listed_late(appears_s):
    """2-20 s on the live service; the search lasts 30 s, with short pauses at first."""
    rows = lambda now: [row(9)] if now >= appears_s else []  # noqa: E731
    hand, _, order = rent(Service(after=rows))
    assert order.id == 9
    assert hand.now <= appears_s + 2
    assert hand.sent[1].path == "create_order"


def test_an_order_that_has_already_ended_is_found():
    """An order whose container died at once was rented and billed too."""
    ended = row(9, expired=True, order_end=WALL + 3)
    service = Service()
    service.after = lambda _now: setattr(service, "completed", [ended]) or []
    _, _, order = rent(service)
    assert order.id == 9
    assert not order.active


@pytest.mark.parametrize("lost", LOST)
def test_an_order_whose_answer_is_lost_is_never_sent_again(lost):
    """HTTP 500 or a timeout may have created the order (service.md, 3)."""
    hand, session, order = rent(Service(post=LOST[lost], after=lambda _now: [row(9)]))
    assert order.id == 9
    assert hand.paths.count("create_order") == 1
    assert session.ledger.intents()[0].state == "created"


@pytest.mark.parametrize("lost", LOST)
def test_a_lost_answer_without_a_listed_order_is_uncertain(lost):
    """OrderUncertain carries the intent and the cause, and names the next step."""
    session = Session()
    hand, error = uncertain(Service(post=LOST[lost]), session)
    assert hand.paths.count("create_order") == 1
    assert 28 <= hand.now <= 32
    (intent,) = session.ledger.intents()
    assert error.intent == intent
    assert (intent.state, intent.server_id) == ("uncertain", 5)
    assert session.ledger.unsettled() == [intent]
    assert isinstance(error.__cause__, CloreAPIError)
    assert error.maybe_acted
    assert "server 5" in str(error)
    assert "clore orders" in str(error)


def test_a_success_without_a_listed_order_is_uncertain():
    """The service accepted the order, so there is no cause to chain."""
    _, error = uncertain(Service())
    assert error.__cause__ is None


def test_the_search_continues_after_errors():
    """The order matters, not the request that looks for it."""
    service = Service(post=cut(), after=lambda _now: [row(9)])
    troubles = iter([reply({"code": 1}, 500)] * 5)

    def answers(call, now):
        trouble = next(troubles, None) if service.created and call.path == "my_orders" else None
        return trouble or service(call, now)

    assert Hand(answers).play(create(Session(), WANTED)).id == 9


def test_orders_listed_before_are_not_claimed():
    """An older order on the same server belongs to another rental."""
    uncertain(Service(before=[row(7)], post=cut()))
    _, _, order = rent(Service(before=[row(7)], post=cut(), after=lambda _now: [row(9)]))
    assert order.id == 9


def test_an_order_cancelled_shortly_before_is_not_claimed():
    """Another process rented and cancelled it minutes ago; the last list holds it too."""
    uncertain(Service(post=cut(), completed=[row(7, ct=WALL - 60, expired=True)]))


def test_orders_of_other_servers_are_not_claimed():
    """`si` must be the id of the requested server."""
    uncertain(Service(post=cut(), after=lambda _now: [row(9, server=6), row(10, server=None)]))


def test_an_old_order_that_is_listed_late_is_not_claimed():
    """If ids do not decide, `ct` must not be long before the request."""
    uncertain(Service(post=cut(), after=lambda _now: [row(9, ct=WALL - 3600)]))


def test_a_fast_local_clock_hides_no_order():
    """Ids ascend: an id above all known ones is new, whatever the local clock says."""
    service = Service(before=[row(7, server=1)], after=lambda _now: [row(9, ct=WALL - 86400)])
    assert rent(service)[2].id == 9


def test_two_intents_do_not_claim_the_same_order():
    """An order of an earlier intent is not claimed again."""
    session = Session()
    rows = [row(9)]
    rent(Service(after=lambda _now: rows), session)
    hidden = Service(post=cut(), after=lambda _now: rows)  # not listed until now: a lag
    _, error = uncertain(hidden, session)
    assert error.intent.order_id is None
    assert [i.state for i in session.ledger.intents()] == ["created", "uncertain"]


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_is_raised_at_once(name):
    """Nothing was rented, so nothing is looked for."""
    answer, error = REFUSALS[name]
    session, hand = Session(), Hand(Service(post=answer))
    with pytest.raises(error):
        hand.play(create(session, WANTED))
    assert hand.paths == ["my_orders", "create_order"]
    assert session.ledger.intents()[0].state == "refused"


def test_a_request_that_was_certainly_not_acted_on_is_retried():
    """Code 5 and a refused connection followed by a success make one order."""
    posts = [reply({"code": 5}, 429), refused(), SUCCESS]
    hand, _, order = rent(Service(post=posts, after=lambda _now: [row(9)]))
    assert order.id == 9
    assert hand.paths.count("create_order") == 3


@pytest.mark.parametrize(
    ("post", "error"), [(reply({"code": 5}, 429), RateLimitError), (refused(), TransportError)]
)
def test_the_refusal_is_raised_when_the_retries_are_used_up(post, error):
    """Then it is certain that nothing was rented."""
    session = Session(Rules(max_retries=2))
    hand = Hand(Service(post=post))
    with pytest.raises(error):
        hand.play(create(session, WANTED))
    assert hand.paths.count("create_order") == 3
    assert session.ledger.intents()[0].state == "refused"


def test_a_cut_after_a_refused_connection_is_uncertain():
    """The last answer decides: a request that was cut off may have been acted on."""
    uncertain(Service(post=[refused(), cut()]))


def test_errors_before_sending_rent_nothing():
    """If the existing orders cannot be listed, the order is not sent."""
    session, hand = Session(), Hand(lambda _call, _now: reply({"code": 1}, 500))
    with pytest.raises(DBError):
        hand.play(create(session, WANTED))
    assert "create_order" not in hand.paths
    assert session.ledger.intents() == []


@pytest.mark.parametrize("how", [KeyboardInterrupt(), SystemExit(), GeneratorExit()])
def test_a_stop_while_sending_leaves_the_intent_uncertain(how):
    """Ctrl-C ends the program, but the ledger still knows that an order may exist."""

    def answers(call, _now):
        return how if call.path == "create_order" else ok(orders=[])

    session = Session()
    with pytest.raises(type(how)):
        Hand(answers).play(create(session, WANTED))
    (intent,) = session.ledger.unsettled()
    assert intent.state == "uncertain"


def test_a_stop_while_searching_leaves_the_intent_uncertain():
    """The same holds once the service has accepted the order."""
    session, service = Session(), Service()

    def answers(call, now):
        stop = service.created and call.path == "my_orders"
        return KeyboardInterrupt() if stop else service(call, now)

    with pytest.raises(KeyboardInterrupt):
        Hand(answers).play(create(session, WANTED))
    assert [i.state for i in session.ledger.unsettled()] == ["uncertain"]


def test_a_stop_before_sending_leaves_no_open_intent():
    """Nothing was sent, so there is nothing to look for."""
    session = Session()
    with pytest.raises(KeyboardInterrupt):
        Hand([KeyboardInterrupt()]).play(create(session, WANTED))
    assert session.ledger.intents() == []
