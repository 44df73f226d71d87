"""A bid is lowered once in 600 s; refused bids are never sent (service.md, 1)."""

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
    """One order, and a service that accepts every bid by default."""

    def __init__(self, session: Session | None = None) -> None:
        self.say = ok()
        super().__init__(lambda _call, _now: self.say)
        self.session = session or Session()

    def bid(self, price: float, order_id: int = 39) -> object:
        return self.play(set_price(self.session, order_id, price))


def test_a_second_lowering_is_refused_locally():
    """The error has the service's reason and the remaining seconds; no request is sent."""
    hand = Bidding()
    hand.bid(2.0)
    hand.now = 50
    assert hand.bid(1.5) == {"code": 0}
    hand.now = 200.5
    with pytest.raises(
        FieldError,
        match=r"order 39 can be lowered again in 7m 30s, at .* raising is free. Nothing was sent",
    ) as c:
        hand.bid(1.4)
    assert (c.value.error, c.value.code) == (TOO_SOON, 6)
    assert c.value.response == {"code": 6, "error": TOO_SOON, "time_to_lowering": 450}
    assert len(hand.sent) == 2
    hand.now = 650
    hand.bid(1.4)
    assert len(hand.sent) == 3


def test_raising_and_repeating_are_free():
    """A bid that was raised may still not be lowered."""
    hand = Bidding()
    for price in (2.0, 1.5, 1.5, 1.8):
        hand.bid(price)
    with pytest.raises(FieldError):
        hand.bid(1.7)
    assert len(hand.sent) == 4


def test_orders_are_independent():
    """Each order has its own clock."""
    hand = Bidding()
    hand.bid(2.0)
    hand.bid(1.5)
    hand.bid(2.0, 40)
    hand.bid(1.5, 40)
    assert len(hand.sent) == 4


def test_an_unknown_bid_is_sent_and_a_refusal_remembered():
    """The same bid and lower ones then wait as long as the service said."""
    hand = Bidding()
    hand.say = REFUSED
    with pytest.raises(FieldError):
        hand.bid(1.5)
    for price in (1.5, 1.4):
        with pytest.raises(FieldError, match="in 1m 40s"):
            hand.bid(price)
    assert len(hand.sent) == 1
    hand.say = ok()
    hand.bid(1.6)  # perhaps a raise: the last bid is unknown
    hand.now += 100
    hand.bid(1.5)
    assert len(hand.sent) == 3


def test_a_lost_answer_leaves_the_bid_unknown():
    """The bid may be the old or the new one, so the next bid is sent."""
    hand = Bidding()
    hand.bid(2.0)
    hand.bid(1.5)
    hand.say = cut()
    with pytest.raises(TransportError):
        hand.bid(1.8)
    hand.say = ok()
    hand.bid(1.6)
    assert len(hand.sent) == 4


def test_other_refusals_are_not_remembered():
    """A step that is too large leaves the bid as it was."""
    hand = Bidding()
    hand.bid(2.0)
    hand.say = reply({"code": 6, "error": "exceeded_max_step", "max_step": 0.1})
    with pytest.raises(FieldError):
        hand.bid(1.0)
    hand.say = ok()
    hand.bid(1.95)
    assert len(hand.sent) == 3


def test_a_shared_store_informs_the_next_process(tmp_path: Path):
    """Another client with the same store knows the last lowering."""
    first = Bidding(Session(bids=Bids(Store(tmp_path))))
    first.bid(2.0)
    first.bid(1.5)
    other = Bidding(Session(bids=Bids(Store(tmp_path))))
    with pytest.raises(FieldError, match="in 10m, at 20"):
        other.bid(1.4)
    other.now = -1  # before the bid was lowered: the machine was rebooted meanwhile
    other.bid(1.4)


def test_a_bid_that_cannot_be_recorded_is_not_sent(tmp_path: Path):
    """One sentence names CLORE_HOME."""
    (tmp_path / "file").touch()
    hand = Bidding(Session(bids=Bids(Store(tmp_path / "file"))))
    with pytest.raises(ConfigError, match="CLORE_HOME"):
        hand.bid(2.0)
    assert hand.sent == []


def test_a_marketplace_with_its_own_clock_is_sent_every_bid():
    """Its 600 s may pass faster; a pace above the service's limit means such a marketplace."""
    assert [lowering_every_s(rate) for rate in (0.5, 1, 1.5, 1000)] == [600, 600, 0, 0]
    hand = Bidding(Session(bids=Bids(every_s=0)))
    for price in (2.0, 1.5, 1.4):
        hand.bid(price)
    assert len(hand.sent) == 3


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            {"error": "exceeded_max_step", "max_step": 0.00001},
            "order 39 can be lowered by at most 0.00001 of its coin a day .* in 10m, at 20",
        ),
        ({"error": "amount_too_low"}, "below what its host accepts. .* clore spot SERVER_ID"),
        ({"error": TOO_SOON, "time_to_lowering": 90}, "order 39 can be lowered again in 1m 30s"),
    ],
    ids=lambda each: str(each)[:24],
)
def test_a_refusal_says_what_is_allowed(answer, said):
    """The error that Python users read has the sentence of the command line, and the reason."""
    hand = Bidding()
    hand.say = reply({"code": 6, **answer})
    with pytest.raises(FieldError, match=said) as caught:
        hand.bid(1.5)
    assert (caught.value.error, caught.value.code) == (answer["error"], 6)
