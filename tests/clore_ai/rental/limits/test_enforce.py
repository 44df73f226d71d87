"""Limits are kept in time: near at 90 %, ended as long before as the end takes, by any clock."""

from __future__ import annotations

from typing import Any

import pytest
from by_hand import WALL, Hand, ok, reply, row

from clore_ai.models.price import Rates
from clore_ai.models.records import Intent
from clore_ai.rental.limits import enforce, expiry
from clore_ai.rental.limits.enforce import Keeper
from clore_ai.rental.session import Session

USD = "USD-Blockchain"
H = 3600.0


def intent(order_id: int = 7, **fields: Any) -> Intent:
    """It costs $1 an hour, and 5 % on top."""
    known = {"state": "created", "started_at": WALL, "seen_at": WALL, "price": 24.0}
    known |= {"order_id": order_id, "creation_fee": 0.0, "spend": 0.0, "usd_per_coin": 1.0}
    return Intent(5, "on-demand", USD, "i", **{**known, **fields})


def session(*intents: Intent) -> Session:
    made = Session()
    for each in intents:
        made.ledger.open(each)
    return made


def listed(spend: float = 0.0) -> Hand:
    return Hand(lambda _call, _now: ok(orders=[row(7, currency=USD, price=24.0, spend=spend)]))


def looks(hand: Hand, kept: Session, keeper: Keeper, at_s: float) -> tuple[list[str], list[str]]:
    """What is near and what is over, so long after the start."""
    hand.now = at_s
    return tuple([each.reason for each in found] for found in hand.play(keeper.check(kept)))


@pytest.mark.parametrize(
    ("ending_s", "pace", "begins_s"),
    [
        (0.0, 1.0, 10),  # the cancel
        (120.0, 1.0, 130),  # and the last fetch
        (120.0, 2.0, 260),  # by a clock that runs faster
        (1000.0, 1.0, 360),  # no earlier than at 90 %
    ],
)
def test_the_end_begins_before_the_limit(ending_s, pace, begins_s):
    """By as much time as it takes, of a lease of one hour."""
    (limit,) = expiry.limits(intent(ends_at=WALL + H, lease_s=H), WALL, Rates())
    assert limit.begins_in_s(ending_s, pace) == H - begins_s


def test_what_it_may_cost_is_in_time_too():
    """$2.10 pay for two hours with fees; a minute may be billed after a cancel."""
    (limit,) = expiry.limits(intent(max_cost_usd=2.1, spend=1.0), WALL, Rates())
    assert (limit.reason, limit.cost_usd) == ("max_cost", pytest.approx(1.05))
    assert limit.left_s == pytest.approx(H)
    assert limit.whole_s == pytest.approx(2 * H)
    assert limit.begins_in_s() == pytest.approx(H - 70)


def test_what_a_creation_fee_leaves():
    """Where the fee does not fit any more, it ends before that falls due."""
    (limit,) = expiry.limits(intent(max_cost_usd=0.2, creation_fee=0.1), WALL, Rates())
    assert limit.whole_s == pytest.approx(599)


def test_what_has_no_limit_that_is_known():
    """It is never over."""
    unknown = intent(max_cost_usd=2.0, usd_per_coin=None)
    unknown.currency = "bitcoin"
    for each in (intent(), unknown):
        assert expiry.limits(each, WALL + 1e6, Rates()) == []


def test_near_is_told_once_and_over_until_it_is_gone():
    """At 90 %; a lease that was extended meanwhile is neither, and is near once more."""
    kept = session(intent(ends_at=WALL + 10 * H, lease_s=10 * H))
    hand, keeper = listed(), Keeper(7)
    assert looks(hand, kept, keeper, 8.9 * H) == ([], [])
    assert looks(hand, kept, keeper, 9.1 * H) == (["lease"], [])
    assert looks(hand, kept, keeper, 9.2 * H) == ([], [])
    (now,) = kept.ledger.running()
    kept.ledger.update(now, ends_at=WALL + 20 * H, lease_s=20 * H)
    assert looks(hand, kept, keeper, 10 * H) == ([], [])
    assert looks(hand, kept, keeper, 18.5 * H) == (["lease"], [])
    for after_s in (0.0, 1.0, 3600.0):
        assert looks(hand, kept, keeper, 20 * H + after_s) == ([], ["lease"])


def test_both_limits_of_an_order_are_one_piece_of_news():
    """`--max-cost` shortens the lease: both come near at once."""
    kept = session(intent(ends_at=WALL + 2 * H, lease_s=2 * H, max_cost_usd=2.1))
    hand, keeper = listed(1.9), Keeper(7)
    near, over = looks(hand, kept, keeper, 1.9 * H)
    assert (len(near), over) == (1, [])


def test_the_service_is_asked_now_and_then_and_in_time():
    """Soon at first, then every 20 s, and again when the limit is reached by its price."""
    kept = session(intent(max_cost_usd=2.1))
    hand, keeper = listed(), Keeper(7)
    for second in range(121):
        looks(hand, kept, keeper, second)
    assert len(hand.sent) == 10  # after 0, 1, 3, 7, 15, 31 s, and each 20 s then
    assert all(call.params is None or not call.params for call in hand.sent)


def test_a_service_that_does_not_answer_stops_no_time():
    """The lease ends all the same; the trouble is kept for who wants to tell it."""
    kept = session(intent(ends_at=WALL + H, lease_s=H))
    hand, keeper = Hand(lambda _call, _now: reply({"code": 1}, 500)), Keeper(7)
    assert looks(hand, kept, keeper, 0.0) == ([], [])
    assert keeper.failure is not None
    assert keeper.failed_at == 0.0
    assert len(hand.sent) == 1  # not tried again and again
    assert looks(hand, kept, keeper, H)[1] == ["lease"]


def test_a_clock_that_is_set_once_ends_nothing_early():
    """Only one that runs fast for two pauses is taken for a fast one."""
    kept = session(intent(ends_at=WALL + 10 * H, lease_s=10 * H))
    keeper = Keeper(7)
    hand = listed()
    hand.play(keeper.check(kept))
    keeper._asked = None if keeper._asked is None else type(keeper._asked)(WALL - 5 * H, 0.0)
    assert looks(hand, kept, keeper, 1.0) == ([], [])
    assert max(keeper._paces) > 1000
    assert looks(hand, kept, keeper, 9 * H + 60) == (["lease"], [])


def test_whose_limits_are_kept():
    """Of an order that ended none; a default that nobody was shown is for `clore reap` alone."""
    fields = {"ends_at": WALL, "lease_s": H}
    ended = intent(8, ended_at=WALL, **fields)
    kept = session(intent(7, enforced="reap", **fields), ended, intent(9, **fields))
    hand = listed()
    assert [i.order_id for i in Keeper().leased(kept)] == [9]
    assert [i.order_id for i in Keeper(mine=lambda _: True).leased(kept)] == [7, 9]
    assert looks(hand, kept, Keeper(7), 1.0) == looks(hand, kept, Keeper(8), 1.0) == ([], [])
    assert hand.sent == []


def test_the_words():
    """What is near and what was reached, with the next step."""
    (lease,) = expiry.limits(intent(ends_at=WALL + 120, lease_s=H), WALL, Rates())
    assert enforce.near(lease).endswith("UTC, in 2m. Keep the order: clore lease extend 7 6h")
    (cost,) = expiry.limits(intent(max_cost_usd=2.1, spend=1.8), WALL, Rates())
    assert (
        enforce.near(cost)
        == "Order 7 has cost $1.89 of at most $2.10; it will be cancelled in about 12m."
    )
    error = enforce.reached(cost)
    assert error.order_id == 7
    assert str(error).endswith("so it was cancelled. To allow more next time, raise --max-cost.")
