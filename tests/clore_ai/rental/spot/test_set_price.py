"""A bid is lowered once in 600 s; what the service would refuse is not sent (service.md, 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from by_hand import Hand, cut, ok, reply

from clore_ai._state.bids import Bids, lowering_every_s
from clore_ai._state.store import Store
from clore_ai.exceptions import ConfigError, FieldError, TransportError
from clore_ai.rental.session import Session
from clore_ai.rental.spot.set_price import TOO_SOON, set_price

if TYPE_CHECKING:
    from pathlib import Path

REFUSED = reply({"code": 6, "error": TOO_SOON, "time_to_lowering": 100})


class Bidding(Hand):
    """One order, and a service that says yes unless told otherwise."""

    def __init__(self, session: Session | None = None) -> None:
        self.say = ok()
        super().__init__(lambda _call, _now: self.say)
        self.session = session or Session()

    def bid(self, price: float, order_id: int = 39) -> object:
        return self.play(set_price(self.session, order_id, price))


def test_a_second_lowering_is_refused_here():
    """With the service's reason, the seconds that are left, and no request."""
    hand = Bidding()
    hand.bid(2.0)
    hand.now = 50
    assert hand.bid(1.5) == {"code": 0}
    hand.now = 200.5
    with pytest.raises(FieldError, match=r"order 39 can be lowered again in 450 s; raising") as c:
        hand.bid(1.4)
    assert (c.value.error, c.value.code) == (TOO_SOON, 6)
    assert c.value.response == {"code": 6, "error": TOO_SOON, "time_to_lowering": 450}
    assert len(hand.sent) == 2
    hand.now = 650
    hand.bid(1.4)
    assert len(hand.sent) == 3


def test_raising_and_repeating_are_free():
    """And what was raised may not be lowered either."""
    hand = Bidding()
    for price in (2.0, 1.5, 1.5, 1.8):
        hand.bid(price)
    with pytest.raises(FieldError):
        hand.bid(1.7)
    assert len(hand.sent) == 4


def test_orders_are_apart():
    """Each has its own clock."""
    hand = Bidding()
    hand.bid(2.0)
    hand.bid(1.5)
    hand.bid(2.0, 40)
    hand.bid(1.5, 40)
    assert len(hand.sent) == 4


def test_what_is_not_known_is_sent_and_a_refusal_teaches():
    """The same bid and lower ones then wait as long as the service said."""
    hand = Bidding()
    hand.say = REFUSED
    with pytest.raises(FieldError):
        hand.bid(1.5)
    for price in (1.5, 1.4):
        with pytest.raises(FieldError, match="in 100 s"):
            hand.bid(price)
    assert len(hand.sent) == 1
    hand.say = ok()
    hand.bid(1.6)  # perhaps a raise: nobody knows
    hand.now += 100
    hand.bid(1.5)
    assert len(hand.sent) == 3


def test_a_lost_answer_leaves_the_bid_unknown():
    """It may be the old or the new one: the next is sent."""
    hand = Bidding()
    hand.bid(2.0)
    hand.bid(1.5)
    hand.say = cut()
    with pytest.raises(TransportError):
        hand.bid(1.8)
    hand.say = ok()
    hand.bid(1.6)
    assert len(hand.sent) == 4


def test_other_refusals_teach_nothing():
    """A step too big leaves the bid as it was."""
    hand = Bidding()
    hand.bid(2.0)
    hand.say = reply({"code": 6, "error": "exceeded_max_step", "max_step": 0.1})
    with pytest.raises(FieldError):
        hand.bid(1.0)
    hand.say = ok()
    hand.bid(1.95)
    assert len(hand.sent) == 3


def test_a_shared_store_serves_the_next_process(tmp_path: Path):
    """Another client with the same store knows what this one did."""
    first = Bidding(Session(bids=Bids(Store(tmp_path))))
    first.bid(2.0)
    first.bid(1.5)
    other = Bidding(Session(bids=Bids(Store(tmp_path))))
    with pytest.raises(FieldError, match="in 600 s"):
        other.bid(1.4)
    other.now = -1  # before it was lowered: the machine was started anew meanwhile
    other.bid(1.4)


def test_a_file_that_cannot_be_written_stops_it_before_it_is_sent(tmp_path: Path):
    """One sentence that names CLORE_HOME."""
    (tmp_path / "file").touch()
    hand = Bidding(Session(bids=Bids(Store(tmp_path / "file"))))
    with pytest.raises(ConfigError, match="CLORE_HOME"):
        hand.bid(2.0)
    assert hand.sent == []


def test_a_marketplace_with_a_time_of_its_own_is_asked():
    """Its 600 s may be over in one of ours; who may ask faster than the service allows has one."""
    assert [lowering_every_s(rate) for rate in (0.5, 1, 1.5, 1000)] == [600, 600, 0, 0]
    hand = Bidding(Session(bids=Bids(every_s=0)))
    for price in (2.0, 1.5, 1.4):
        hand.bid(price)
    assert len(hand.sent) == 3
