"""A host's settings are sent together: missing ones are read first (service.md, 3)."""

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


def test_omitted_settings_stay_the_same():
    """The config is read, merged and sent whole: the service refuses missing fields."""
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


def test_with_all_settings_given_nothing_is_read():
    """004's example is one request, word for word."""
    hand = Hand([ok()])
    given = {"availability": True, "mrl": 96, "on_demand": 0.0001, "spot": 0.00000113}
    assert hand.play(set_settings(Session(), "MyGPU", **given)) == {"code": 0}
    assert [call.body for call in hand.sent] == [{"name": "MyGPU", **given}]


def test_false_is_not_an_omitted_setting():
    """Taking a server off the market differs from leaving it as it is."""
    config = {**CONFIG, "visibility": "public"}
    assert settings(config, availability=False)[1].body["availability"] is False


def test_unknown_prices_are_not_invented():
    """A config without prices is sent without prices; the service names what is missing."""
    assert settings({"name": "MyGPU"}, mrl=1)[1].body == {"name": "MyGPU", "mrl": 1}


@pytest.mark.parametrize(
    "given", [{"mrl": 0}, {"on_demand": 0}, {"spot": -1}, {"spot": float("nan")}]
)
def test_a_setting_out_of_range_is_not_sent(given):
    """The message names the setting and its unit."""
    hand = Hand()
    with pytest.raises(InvalidInputError, match=next(iter(given))):
        hand.play(set_settings(Session(), "MyGPU", **given))
    assert hand.sent == []
