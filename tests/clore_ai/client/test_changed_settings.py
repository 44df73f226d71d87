"""If a client's attributes are set after it was made, they take effect with the next call."""

from __future__ import annotations

from typing import Any

import pytest

from clore_ai import AsyncCloreAI, CloreAI
from clore_ai.exceptions import AuthError, ConfigError, TransportError
from clore_ai.rate_limiter import RateLimiter

BOTH_CLIENTS = "suite"


def test_a_new_key(api):
    """Calls carry the new key, stripped; None means no key, whatever was set before."""
    other = api.market.create_account(api_key=f"{api.key}-other")
    assert api.wallets()
    api.client.api_key = f" {other}\n"
    assert api.client.api_key == other
    assert api.wallets()
    sent = [e.key for e in api.market.journal() if e.endpoint == "wallets"]
    assert sent[-2:] == [f"…{api.key[-4:]}", f"…{other[-4:]}"]
    api.client.api_key = None
    assert api.marketplace()
    with pytest.raises(AuthError, match="clore config set api_key"):
        api.wallets()
    assert api.client.rate_limiter.min_interval == 0


def test_a_new_base_url(api, own_market):
    """Calls go to the new address only, and use the ledger of that address."""
    other = own_market(provision=False)
    key = other.create_account(api_key="a-key-of-another-place")
    assert api.wallets()
    before = len(api.market.journal())
    api.client.base_url = f"{other.base_url}/"
    api.client.api_key = key
    assert api.client.base_url == other.base_url
    assert api.wallets()
    server = next(s for s in api.marketplace() if s.allows("bitcoin"))
    order = api.rent(server.id)
    assert [i.order_id for i in api.ledger.running()] == [order.id]
    assert len(api.market.journal()) == before
    assert other.base_url in repr(api.client)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("base_url", "clore.ai", ConfigError),
        ("base_url", "", ConfigError),
        ("api_key", "two words", ConfigError),
        ("timeout", 0, ValueError),
        ("max_retries", -1, ValueError),
    ],
)
def test_invalid_settings_change_nothing(api, name, value, error):
    """They are refused as in the constructor, and calls go on with the old ones."""
    before = getattr(api.client, name)
    with pytest.raises(error):
        setattr(api.client, name, value)
    assert getattr(api.client, name) == before
    assert api.wallets()


def test_new_retries_and_a_new_timeout(api):
    """They apply from the next call on."""
    api.client.max_retries = 0
    api.client.timeout = 0.2
    api.fault("wallets", "late", delay_s=1.5, times=4)
    with pytest.raises(TransportError):
        api.wallets()
    assert len(api.entries("wallets")) <= 1


def test_a_new_rate_limiter(api):
    """The client waits for a rate limiter of the user's own."""
    asked: list[bool] = []

    class Own(RateLimiter):
        def wait(self, *args: Any, **more: Any) -> None:
            asked.append(True)

        async def wait_async(self, *args: Any, **more: Any) -> None:
            asked.append(True)

    api.client.rate_limiter = Own()
    assert api.wallets()
    assert asked == [True]


@pytest.mark.parametrize("face", [CloreAI, AsyncCloreAI])
def test_the_base_url_of_a_subclass(face):
    """A subclass may set the base URL, as in 0.1.1; an argument takes precedence."""
    own = type("Own", (face,), {"BASE_URL": "http://127.0.0.1:9/v1"})
    assert face.BASE_URL == "https://api.clore.ai/v1"
    assert own("key").base_url == "http://127.0.0.1:9/v1"
    assert own("key", "http://127.0.0.1:8/v1").base_url == "http://127.0.0.1:8/v1"
