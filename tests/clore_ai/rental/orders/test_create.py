"""One order is made exactly once, whatever happens to the answer (service.md, 3)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Callable, Optional

import pytest
from by_hand import WALL, Hand, cut, ok, refused, reply, row

from clore_ai._api.order_request import OrderRequest
from clore_ai._api.steps import Flow, Rules, Send, Sleep
from clore_ai._api.waits import WAITS
from clore_ai.exceptions import (
    CloreAPIError,
    DBError,
    FieldError,
    OrderUncertain,
    RateLimitError,
    ResponseError,
    TransportError,
)
from clore_ai.rental.orders import reconcile
from clore_ai.rental.orders.create import RentalTerms, create
from clore_ai.rental.session import Session

if TYPE_CHECKING:
    from clore_ai._api.call import Call

WANTED = OrderRequest(server_id=5, image="i", type="on-demand", currency="bitcoin")
SUCCESS = ok()
LOST = {
    "cut": cut(),
    "HTTP 500": reply({"code": 1}, 500),
    "HTML 502": reply(b"<html>", 502),
    "truncated": reply(b'{"co'),
    "an unknown code": reply({"code": 9}),
}


class Service:
    """Answers `create_order` with `post`; lists `before`, and later the rows of `after(now)`."""

    def __init__(
        self,
        post: object = SUCCESS,
        before: list[dict] = (),
        after: Callable[[float], list[dict]] = lambda _now: [],
        completed: Optional[list[dict]] = None,
    ) -> None:
        self.posts = list(post) if isinstance(post, list) else [post]
        self.before, self.after, self.completed = list(before), after, completed or []
        self.created = 0

    def __call__(self, call: Call[Any], now: float) -> object:
        if call.path == "create_order":
            self.created += 1
            return self.posts.pop(0) if len(self.posts) > 1 else self.posts[0]
        assert call.path == "my_orders"
        rows = [*self.before, *(self.after(now) if self.created else [])]
        return ok(orders=rows + (self.completed if call.params else []))


def rent(service: Service, session: Optional[Session] = None, ref: Optional[str] = None):
    """Create an order: the hand that played the flow, and its result or error."""
    hand = Hand(service)
    session = session or Session()
    flow = create(session, WANTED, RentalTerms(ref))
    return hand, session, hand.play(flow)


def uncertain(service: Service, session: Optional[Session] = None) -> tuple[Hand, OrderUncertain]:
    hand = Hand(service)
    with pytest.raises(OrderUncertain) as caught:
        hand.play(create(session or Session(), WANTED))
    return hand, caught.value


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


REFUSALS = {
    "code 2": (reply({"code": 2}, 400), CloreAPIError),
    "code 3": (reply({"code": 3}, 401), CloreAPIError),
    "code 6": (reply({"code": 6, "error": "server-already-rented"}), FieldError),
    "the CDN": (reply(b"error code: 1010", 403), ResponseError),
}


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


def _go_on(flow: Flow[Any], answer: object) -> Flow[Any]:
    """Continue a flow that was stepped by hand and waits for `answer`."""
    try:
        step = flow.send(answer)
        while True:
            step = flow.send((yield step))
    except StopIteration as stop:
        return stop.value
