"""One list without an order is not its end: which orders are gone, and which are unknown."""

from __future__ import annotations

import pytest
from by_hand import WALL, Hand, ok, row

from clore_ai.exceptions import NotFoundError, OrderUnlisted
from clore_ai.models import Order
from clore_ai.models.records import Intent
from clore_ai.rental.gone import AGAIN_S, Listings
from clore_ai.rental.orders import ending, reconcile, wait
from clore_ai.rental.orders.orphans import orphans
from clore_ai.rental.session import Session


def orders(*ids: int, **fields: object) -> list[Order]:
    return [Order.model_validate(row(each, **fields)) for each in ids]


def intent(order_id: int, **fields: object) -> Intent:
    return Intent(5, "on-demand", "bitcoin", "i", state="created", order_id=order_id, **fields)


@pytest.fixture
def listings() -> Listings:
    """Orders 1, 2 and 3 were listed."""
    made = Listings()
    made.feed(orders(1, 2, 3), (), WALL)
    return made


def test_a_listed_order(listings: Listings) -> None:
    """It runs or has ended: one look decides."""
    listings.feed([*orders(1), *orders(2, expired=True), *orders(3)], (), WALL)
    assert [listings.of(each) for each in (1, 2, 3)] == ["running", "gone", "running"]


def test_two_misses_that_are_far_enough_apart(listings: Listings) -> None:
    """The other orders are listed both times."""
    listings.feed(orders(1, 2), (), WALL + 1)
    assert listings.of(3) == "unknown"
    listings.feed(orders(1, 2), (), WALL + AGAIN_S)
    assert listings.of(3) == "unknown"
    listings.feed(orders(1, 2), (), WALL + 1 + AGAIN_S)
    assert listings.of(3) == "gone"
    listings.feed(orders(1, 2, 3), (), WALL + 60)
    assert listings.of(3) == "running"


def test_an_order_listed_in_between_restarts_the_count(listings: Listings) -> None:
    """Two misses with a listing between them are not two in a row."""
    listings.feed(orders(1, 2), (), WALL + 1)
    listings.feed(orders(1, 2, 3), (), WALL + 10)
    listings.feed(orders(1, 2), (), WALL + 30)
    assert listings.of(3) == "unknown"


def test_lists_that_prove_nothing(listings: Listings) -> None:
    """An empty one while several orders run, one without several at once, or unread rows."""
    kept = [intent(each) for each in (1, 2, 3)]
    for at in range(0, 600, 30):
        listings.feed([], kept, WALL + at)
        listings.feed(orders(1), kept, WALL + at + 1)
        listings.feed(orders(1, 2), kept, WALL + at + 2, whole=False)
        assert listings.of(3) == "unknown"
    assert listings.unlisted((1, 2, 3)) == [3]


def test_a_new_order_may_not_be_listed_yet() -> None:
    """It takes up to 20 s; that is not a miss."""
    listings, new = Listings(), intent(4, posted_at=WALL)
    for at in (1, 22):
        listings.feed(orders(1), [new], WALL + at)
        assert listings.of(4) == "unknown"
        assert listings.unlisted([4]) == []
    listings.feed(orders(1), [new], WALL + 40)
    new.missing_at = listings.missing[4]
    listings.feed(orders(1), [new], WALL + 40 + AGAIN_S)
    assert listings.of(4) == "gone"


def listing(*rows_by_time):
    def answers(_call, now):
        return ok(orders=next(rows for since, rows in reversed(rows_by_time) if now >= since))

    return answers


def kept(session: Session, *ids: int) -> None:
    for each in ids:
        session.ledger.open(intent(each, posted_at=WALL - 900, seen_at=WALL - 600))


def test_the_ledger_remembers_the_first_miss() -> None:
    """The second of two commands, 20 s later, knows that the order is gone."""
    session = Session()
    kept(session, 1, 2)
    hand = Hand(listing((0, [row(1)])))
    hand.play(reconcile.orders(session, include_completed=True))
    assert session.ledger.by_order(2).runs  # type: ignore[union-attr]
    another = Session(ledger=session.ledger)
    hand.now = AGAIN_S + 1
    hand.play(reconcile.orders(another, include_completed=True))
    found = session.ledger.by_order(2)
    assert found is not None
    assert (found.reason, found.ended_at) == (ending.UNLISTED, WALL)
    assert another.ended == {2: "Order 2 on server 5 has ended: the service no longer lists it."}


def test_an_empty_list_ends_nothing_in_the_ledger() -> None:
    """It ends no order however often it comes; `orphans` still names the orders."""
    session = Session()
    kept(session, 1, 2)
    hand = Hand(listing((0, [])))
    for hand.now in (0, 60, 3600):
        found = hand.play(orphans(session))
        assert [each.order_id for each in found.missing] == [1, 2]
    assert len(session.ledger.running()) == 2


def test_find_distinguishes_a_missing_order_from_an_unknown_one() -> None:
    """The ledger or the caller knows that the order existed."""
    session = Session()
    kept(session, 1)
    hand = Hand(listing((0, [row(9)])))
    with pytest.raises(OrderUnlisted, match="order 1"):
        hand.play(wait.find(session, 1))
    with pytest.raises(OrderUnlisted):
        hand.play(wait.find(session, 7, include_completed=True, known=True))
    with pytest.raises(NotFoundError, match="no order 8"):
        hand.play(wait.find(session, 8))
    hand.now = AGAIN_S
    with pytest.raises(NotFoundError):
        hand.play(wait.find(session, 1))


def test_unreadable_rows_may_be_any_order() -> None:
    """They are counted, and no missing order is gone."""
    session = Session()
    kept(session, 1)
    hand = Hand(listing((0, [row(9), {"si": 5}, "odd"])))
    for hand.now in (0, 60):
        rows = hand.play(reconcile.orders(session, include_completed=True))
        assert (len(rows), rows.unread, session.unread) == (1, 2, 2)
    assert session.listings.of(1) == "unknown"
    assert session.trouble == [reconcile.unread(rows)]
    assert "2 of 3 orders" in reconcile.unread(rows)


def test_a_wait_for_ssh_survives_one_empty_list() -> None:
    """It also survives a partial list, as long as SSH may still come up."""
    up = row(9, pub_cluster=["n1"], tcp_ports=["22:1972"], mon_container=2)
    session = Session()
    kept(session, 9)
    hand = Hand(listing((0, [up]), (4, []), (12, [up])), probes=[False] * 30 + [True])
    assert hand.play(wait.until_ssh(session, 9)).id == 9
