"""Limits are enforced in time: a warning at 90 %, and an end that begins early, by any clock."""

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
    """An order that costs $1 an hour plus 5 %."""
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


def limits_at(
    hand: Hand, kept: Session, keeper: Keeper, at_s: float
) -> tuple[list[str], list[str]]:
    """The limits that are near and those that are over, so many seconds after the start."""
    hand.now = at_s
    return tuple([each.reason for each in found] for found in hand.play(keeper.check(kept)))


@pytest.mark.parametrize(
    ("ending_s", "pace", "begins_s"),
    [
        (0.0, 1.0, 10),  # the cancel
        (120.0, 1.0, 130),  # plus the last fetch
        (120.0, 2.0, 260),  # plus a clock that runs faster
        (1000.0, 1.0, 360),  # no earlier than at 90 %
    ],
)
def test_the_end_begins_before_the_limit(ending_s, pace, begins_s):
    """For a lease of one hour: as early as ending the order takes."""
    (limit,) = expiry.limits(intent(ends_at=WALL + H, lease_s=H), WALL, Rates())
    assert limit.begins_in_s(ending_s, pace) == H - begins_s


def test_a_cost_limit_is_converted_to_time():
    """$2.10 pay for two hours with fees; a cancelled order may be billed for one more minute."""
    (limit,) = expiry.limits(intent(max_cost_usd=2.1, spend=1.0), WALL, Rates())
    assert (limit.reason, limit.cost_usd) == ("max_cost", pytest.approx(1.05))
    assert limit.left_s == pytest.approx(H)
    assert limit.whole_s == pytest.approx(2 * H)
    assert limit.begins_in_s() == pytest.approx(H - 70)


def test_an_order_ends_before_a_creation_fee_that_exceeds_its_limit():
    """Where the fee does not fit any more, it ends before that falls due."""
    (limit,) = expiry.limits(intent(max_cost_usd=0.2, creation_fee=0.1), WALL, Rates())
    assert limit.whole_s == pytest.approx(599)


def test_an_order_without_a_known_limit_is_never_over():
    """It is never over."""
    unknown = intent(max_cost_usd=2.0, usd_per_coin=None)
    unknown.currency = "bitcoin"
    for each in (intent(), unknown):
        assert expiry.limits(each, WALL + 1e6, Rates()) == []


def test_a_near_limit_is_reported_once_and_a_reached_one_until_the_end():
    """A limit is near at 90 %; if the lease is extended, it is near again later."""
    kept = session(intent(ends_at=WALL + 10 * H, lease_s=10 * H))
    hand, keeper = listed(), Keeper(7)
    assert limits_at(hand, kept, keeper, 8.9 * H) == ([], [])
    assert limits_at(hand, kept, keeper, 9.1 * H) == (["lease"], [])
    assert limits_at(hand, kept, keeper, 9.2 * H) == ([], [])
    (now,) = kept.ledger.running()
    kept.ledger.update(now, ends_at=WALL + 20 * H, lease_s=20 * H)
    assert limits_at(hand, kept, keeper, 10 * H) == ([], [])
    assert limits_at(hand, kept, keeper, 18.5 * H) == (["lease"], [])
    for after_s in (0.0, 1.0, 3600.0):
        assert limits_at(hand, kept, keeper, 20 * H + after_s) == ([], ["lease"])


def test_two_limits_near_at_once_are_one_warning():
    """`--max-cost` shortens the lease, so both limits come near together."""
    kept = session(intent(ends_at=WALL + 2 * H, lease_s=2 * H, max_cost_usd=2.1))
    hand, keeper = listed(1.9), Keeper(7)
    near, over = limits_at(hand, kept, keeper, 1.9 * H)
    assert (len(near), over) == (1, [])


def test_orders_are_read_at_intervals_and_at_the_limit():
    """They are read often at first, then every 20 s, and when the computed cost is at the limit."""
    kept = session(intent(max_cost_usd=2.1))
    hand, keeper = listed(), Keeper(7)
    for second in range(121):
        limits_at(hand, kept, keeper, second)
    assert len(hand.sent) == 10  # after 0, 1, 3, 7, 15, 31 s, then every 20 s
    assert all(call.params is None or not call.params for call in hand.sent)


def test_limits_hold_while_the_service_does_not_answer():
    """The lease still ends; the error is kept for a caller that reports it."""
    kept = session(intent(ends_at=WALL + H, lease_s=H))
    hand, keeper = Hand(lambda _call, _now: reply({"code": 1}, 500)), Keeper(7)
    assert limits_at(hand, kept, keeper, 0.0) == ([], [])
    assert keeper.failure is not None
    assert keeper.failed_at == 0.0
    assert len(hand.sent) == 1  # not tried over and over
    assert limits_at(hand, kept, keeper, H)[1] == ["lease"]


def test_a_clock_that_jumps_once_ends_no_order_early():
    """Only a clock that is ahead in two checks in a row counts as fast."""
    kept = session(intent(ends_at=WALL + 10 * H, lease_s=10 * H))
    keeper = Keeper(7)
    hand = listed()
    hand.play(keeper.check(kept))
    keeper._asked = None if keeper._asked is None else type(keeper._asked)(WALL - 5 * H, 0.0)
    assert limits_at(hand, kept, keeper, 1.0) == ([], [])
    assert max(keeper._paces) > 1000
    assert limits_at(hand, kept, keeper, 9 * H + 60) == (["lease"], [])


def test_which_limits_are_enforced():
    """Those of a running order; a default that was never shown is left to `clore reap`."""
    fields = {"ends_at": WALL, "lease_s": H}
    ended = intent(8, ended_at=WALL, **fields)
    kept = session(intent(7, enforced="reap", **fields), ended, intent(9, **fields))
    hand = listed()
    assert [i.order_id for i in Keeper().leased(kept)] == [9]
    assert [i.order_id for i in Keeper(mine=lambda _: True).leased(kept)] == [7, 9]
    assert (
        limits_at(hand, kept, Keeper(7), 1.0) == limits_at(hand, kept, Keeper(8), 1.0) == ([], [])
    )
    assert hand.sent == []


def test_the_messages():
    """They say which limit is near or was reached, and the next step."""
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
