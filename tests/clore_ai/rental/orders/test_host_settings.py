"""A host's settings go together: what is not given is read first (service.md, 3)."""

from __future__ import annotations

import pytest
from by_hand import Hand, ok

from clore_ai.exceptions import InvalidInputError
from clore_ai.rental.orders.host_settings import set_settings
from clore_ai.rental.session import Session

CONFIG = {
    "name": "MyGPU",
    "visibility": "hidden",
    "mrl": 72,
    "pricing": {"bitcoin": 0.1, "CLORE-Blockchain": 5},
    "spot_pricing": {"bitcoin": 0.01},
}


def settings(config: dict = CONFIG, **given: object):
    hand = Hand([ok(config=config), ok()])
    hand.play(set_settings(Session(), "MyGPU", **given))
    return hand.sent


def test_what_is_left_out_stays_as_it_is():
    """The config is read, merged and sent whole: missing fields would be refused."""
    read, write = settings(mrl=96)
    assert (read.path, read.body) == ("server_config", {"server_name": "MyGPU"})
    assert write.path == "set_server_settings"
    assert write.body == {
        "name": "MyGPU",
        "availability": False,
        "mrl": 96,
        "on_demand": 0.1,
        "spot": 0.01,
    }


def test_with_everything_given_nothing_is_read():
    """004's example is one request, word for word."""
    hand = Hand([ok()])
    given = {"availability": True, "mrl": 96, "on_demand": 0.0001, "spot": 0.00000113}
    assert hand.play(set_settings(Session(), "MyGPU", **given)) == {"code": 0}
    assert [call.body for call in hand.sent] == [{"name": "MyGPU", **given}]


def test_false_is_given():
    """Taking a server off the market is not leaving it as it is."""
    config = {**CONFIG, "visibility": "public"}
    assert settings(config, availability=False)[1].body["availability"] is False


def test_what_nobody_knows_is_not_made_up():
    """A config without prices is sent without prices; the service says what it lacks."""
    assert settings({"name": "MyGPU"}, mrl=1)[1].body == {"name": "MyGPU", "mrl": 1}


@pytest.mark.parametrize(
    "given", [{"mrl": 0}, {"on_demand": 0}, {"spot": -1}, {"spot": float("nan")}]
)
def test_out_of_range_is_refused_before_it_is_sent(given):
    """The message names the setting and its unit."""
    hand = Hand()
    with pytest.raises(InvalidInputError, match=next(iter(given))):
        hand.play(set_settings(Session(), "MyGPU", **given))
    assert hand.sent == []
