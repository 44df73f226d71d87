"""The wait for SSH: all hosts, until a deadline, never beyond the order's end (service.md, 3)."""

from __future__ import annotations

import pytest
from by_hand import Hand, cut, ok, reply, row

from clore_ai._api.steps import Rules
from clore_ai.exceptions import (
    AuthError,
    DBError,
    InvalidInputError,
    NotFoundError,
    OrderEnded,
    WaitTimeout,
)
from clore_ai.models.records import Intent
from clore_ai.rental.orders.wait import find, until_ssh
from clore_ai.rental.session import Session

UP = row(9, pub_cluster=["n1", "n2"], tcp_ports=["22:1972"], mon_container=2)
DEPLOYING = row(9, mon_container=0)
ENDED = row(9, expired=True, tcp_ports=[])


def listing(*rows_by_time):
    """Lists the newest rows of ``(since, rows)``."""

    def answers(_call, now):
        rows = next(rows for since, rows in reversed(rows_by_time) if now >= since)
        return ok(orders=rows)

    return answers


def test_the_host_that_answers_comes_first():
    """`pub_cluster` may name several hosts, of which different ones work."""
    order = Hand(listing((0, [UP])), probes=[False, True]).play(until_ssh(Session(), 9))
    assert order.ssh_hosts == ["n2", "n1"]
    assert order.ssh_command.startswith("ssh root@n2 -p 1972 ")


@pytest.mark.parametrize("container", [0, 1, 2, None])
def test_an_order_with_working_ssh_is_running(container):
    """It runs whatever the service says about its container."""
    hand = Hand(listing((0, [{**UP, "mon_container": container}])), probes=[True])
    assert hand.play(until_ssh(Session(), 9)).status == "running"


def test_connection_fields_may_come_late():
    """They appear within seconds; until then the list is read again."""
    hand = Hand(listing((0, [DEPLOYING]), (3, [UP])), probes=[True])
    order = hand.play(until_ssh(Session(), 9))
    assert order.ssh_port == 1972
    assert 3 <= hand.now <= 5


def test_a_listed_order_is_probed_more_often_than_listed():
    """The port is tried at least every second, the list is read only every 5 s."""
    hand = Hand(listing((0, [UP])), probes=[False] * 120 + [True])
    hand.play(until_ssh(Session(), 9))
    assert max(hand.slept) <= 1
    assert len(hand.sent) <= 2 + hand.now / 5


def test_an_order_that_ends_ends_the_wait():
    """OrderEnded carries its last state."""
    with pytest.raises(OrderEnded) as caught:
        Hand(listing((0, [UP]), (6, [ENDED]))).play(until_ssh(Session(), 9))
    assert caught.value.order.id == 9
    assert not caught.value.order.active
    with pytest.raises(OrderEnded):
        Hand(listing((0, [ENDED]))).play(until_ssh(Session(), 9))


def test_an_order_that_vanishes_has_ended():
    """The error carries the last known state of the order."""
    with pytest.raises(OrderEnded) as caught:
        Hand(listing((0, [UP]), (6, []))).play(until_ssh(Session(), 9))
    assert caught.value.order.ssh_port == 1972


def test_an_unknown_order_is_not_found():
    """The message lists the existing orders and the next command."""
    with pytest.raises(NotFoundError, match=r"order 8 \(active: 9\).*clore orders"):
        Hand(listing((0, [UP]))).play(until_ssh(Session(), 8))


def test_an_order_just_made_may_not_be_listed_yet():
    """If the answer named it, the wait lasts as long as a new order may take."""
    session = Session()
    session.ledger.open(Intent(5, "on-demand", "bitcoin", "i", state="created", order_id=9))
    hand = Hand(listing((0, []), (8, [UP])), probes=[True])
    assert hand.play(until_ssh(session, 9)).id == 9
    hand = Hand(listing((0, [])))
    with pytest.raises(NotFoundError):
        hand.play(until_ssh(session, 9))
    assert 30 <= hand.now <= 32


def test_the_deadline_is_kept():
    """WaitTimeout carries the order; it says why, that it is still billed, and how to end it."""
    hand = Hand(listing((0, [UP])))
    said = r"without sshd.*CMD.*still billed.*clore cancel 9"
    with pytest.raises(WaitTimeout, match=said) as caught:
        hand.play(until_ssh(Session(), 9, 20))
    assert caught.value.order.id == 9
    assert 19 <= hand.now <= 22


def test_an_order_without_port_22_has_no_ssh():
    """The error says how to rent an order with SSH."""
    http_only = row(9, pub_cluster=["n1"], tcp_ports=[], http_port="8888", mon_container=2)
    with pytest.raises(InvalidInputError, match=r'ports=\{"22": "tcp"\}'):
        Hand(listing((0, [http_only]))).play(until_ssh(Session(), 9))


@pytest.mark.parametrize(
    "trouble", [cut(), reply({"code": 1}, 500), reply({"code": 5}, 429)], ids=["cut", "500", "429"]
)
def test_errors_during_the_wait_are_ignored(trouble):
    """A failed read says nothing about the order; the wait goes on with the known state."""
    answers = listing((0, [UP]))
    hand = Hand(
        lambda call, now: trouble if 4 < now < 12 else answers(call, now),
        probes=[False] * 120 + [True],
    )
    assert hand.play(until_ssh(Session(Rules(max_retries=0)), 9)).id == 9
    assert hand.now > 12


def test_errors_at_the_start_are_raised():
    """Without a known order there is nothing to wait for. A key refused later also raises."""
    with pytest.raises(DBError):
        Hand(lambda _c, _n: reply({"code": 1}, 500)).play(until_ssh(Session(), 9))
    answers = listing((0, [UP]))
    bad_key = reply({"code": 3}, 401)
    with pytest.raises(AuthError):
        Hand(lambda c, n: bad_key if n > 4 else answers(c, n)).play(until_ssh(Session(), 9))


def test_find_returns_active_orders_by_default():
    """`include_completed` also requests ended ones."""
    hand = Hand(listing((0, [UP])))
    assert hand.play(find(Session(), 9)).id == 9
    hand.play(find(Session(), 9, include_completed=True))
    assert [call.params for call in hand.sent] == [None, {"return_completed": "true"}]
