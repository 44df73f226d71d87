"""The client's time is the service's, read from the `Date` of its answers."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clore_ai import AsyncCloreAI, CloreAI
from clore_ai._api.steps import Instant, clock
from clore_ai._io.service_clock import ServiceClock, retry_after_s
from clore_sandbox import Sandbox

NOW = 1_700_000_000.0


def observed(ahead_s: float, latency_s: float = 0.0, elapsed_s: float = 0.0) -> ServiceClock:
    """A clock after an answer of a service whose clock is `ahead_s` ahead of ours."""
    service = ServiceClock()
    date = formatdate(int(NOW - latency_s + ahead_s), usegmt=True)
    service.observe(date, Instant(NOW, 50.0), max(latency_s, elapsed_s))
    return service


@given(st.floats(-1e8, 1e8), st.floats(0, 20), st.floats(0, 20))
def test_the_clock_is_right_within_the_precision_of_an_answer(ahead_s, latency_s, more_s):
    """A second, the time that the answer took, and the 2 s in which our own clock is kept."""
    elapsed_s = latency_s + more_s
    now = observed(ahead_s, latency_s, elapsed_s).now(Instant(NOW, 50.0))
    assert abs(now.wall - (NOW + ahead_s)) <= 3 + elapsed_s
    assert now.ahead_s == pytest.approx(now.wall - NOW)


@given(st.floats(-1.9, 1.9))
def test_a_correct_local_clock_is_kept(ahead_s):
    """It is more precise than the header."""
    assert observed(ahead_s).now(Instant(NOW, 50.0)) == Instant(NOW, 50.0, 0.0)


def test_a_jump_of_the_local_clock_changes_nothing():
    """Between answers the monotonic clock counts."""
    service = observed(0)
    assert service.now(Instant(NOW + 86_400, 60.0)) == Instant(NOW + 10, 60.0, 10 - 86_400)


@pytest.mark.parametrize("date", ["", "soon", "Tue, 99 Foo 2024 00:00:00 GMT", "\x00", "1 2 3"])
def test_an_invalid_date_is_ignored(date):
    """The local clock is used then."""
    service = ServiceClock()
    service.observe(date, Instant(NOW, 0.0), 0.0)
    assert service.now(Instant(NOW, 1.0)) == Instant(NOW, 1.0)


def test_both_clients_use_the_marketplace_s_clock():
    """Its clock moves by a day; after one answer both clients' clocks do too."""

    async def later(market: Sandbox) -> float:
        async with AsyncCloreAI(market.api_key, market.base_url) as client:
            await client.marketplace()
            return (await client.drive(clock())).ahead_s

    with Sandbox(provision=False, limits=False) as market:
        with CloreAI(market.api_key, market.base_url) as client:
            client.marketplace()
            assert abs(client.drive(clock()).ahead_s) < 0.1
            market.jump(86_400)
            client.marketplace()
            now = client.drive(clock())
        assert now.ahead_s == pytest.approx(86_400, abs=3)
        assert now.wall == pytest.approx(time.time() + 86_400, abs=3)
        assert asyncio.run(later(market)) == pytest.approx(86_400, abs=3)


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("7", 7),
        (" 120 ", 120),
        (formatdate(NOW + 90, usegmt=True), 90),
        (formatdate(NOW - 90, usegmt=True), None),
        ("Tue, 14 Nov 2023 22:14:20", 60),
        ("0", None),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("1e9", None),
        ("9" * 5000, None),
        ("\u0667", None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", None),
        ("Fri, 31 Dec 0001 23:59:59 +2300", None),
    ],
)
def test_a_retry_after_is_seconds_or_a_date(value, wait_s):
    """An invalid, past or far date asks for no wait."""
    assert retry_after_s(value, NOW) == wait_s
