"""A lease is as requested, never longer than the host allows; contradictions are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clore_ai.exceptions import BudgetError, CloreAPIError, InvalidInputError
from clore_ai.models.price import USD, Price
from clore_ai.models.records import Intent
from clore_ai.rental.market.cost import Cost
from clore_ai.rental.spend import lease
from clore_ai.rental.spend.lease import Limits, settle

H = 3600.0
COST = Cost(Price(24.0, USD, 1.0), 1.2, 0.1)
"""$1.05 an hour with the fee, plus ten cents once."""


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("90m", 5400),
        ("6h", 21_600),
        ("2d", 172_800),
        (" 1.5 H ", 5400),
        ("5400", 5400),
        ("0.5", 0.5),
        ("none", None),
    ],
)
def test_lengths(text, seconds):
    """Seconds, minutes, hours, days, or no end; a plain number means seconds."""
    assert lease.read(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h",
        "-6h",
        "0",
        "0h",
        "6w",
        "1h30m",
        "inf",
        "1e9h",
        "999999999d",
        "٦h x",
        "٦h",
        "9\u017f",
    ],
)
def test_invalid_lengths(text):
    """The error is one sentence that lists the valid forms."""
    with pytest.raises(InvalidInputError, match="write 90m, 6h, 2d or none"):
        lease.read(text)


@given(st.floats(1, 1e8))
def test_a_length_in_words_is_never_longer(seconds):
    """The length that a message suggests fits; it is at most an hour too short."""
    again = lease.read(lease.words(seconds))
    assert seconds - H < again <= seconds + 1e-3


@pytest.mark.parametrize(
    ("limits", "mrl_h", "lease_s", "because"),
    [
        (Limits(), None, 24 * H, None),
        (Limits(max_hours=6), None, 6 * H, "--max-hours"),
        (Limits(max_hours=48), None, 24 * H, None),
        (Limits(max_cost_usd=2.2), None, 2 * H, "--max-cost"),
        (Limits(max_cost_usd=1000), None, 24 * H, None),
        (Limits(), 6, 6 * H, "the host's longest rental"),
        (Limits(max_hours=6, max_cost_usd=2.2), 1, H, "the host's longest rental"),
        (Limits(48 * H, given=True), 24, 24 * H, "the host's longest rental"),
        (Limits(2 * H, given=True, max_hours=2, max_cost_usd=2.3), None, 2 * H, None),
        (Limits(None, given=True), 6, None, None),
        (Limits(None, given=True, max_cost_usd=5), None, None, None),
    ],
)
def test_the_shortest_limit_decides(limits, mrl_h, lease_s, because):
    """The plan can say which limit that was."""
    settled = settle(limits, COST, mrl_h)
    assert settled.because == because
    assert settled.lease_s == (None if lease_s is None else pytest.approx(lease_s))
    if lease_s is not None:
        assert settled.at_most == pytest.approx(0.1 + 1.05 * lease_s / H)
    elif limits.max_cost_usd:
        assert settled.at_most_usd == limits.max_cost_usd


@pytest.mark.parametrize(
    ("limits", "error", "says"),
    [
        (Limits(24 * H, given=True, max_hours=6), InvalidInputError, "--lease 1d is longer than"),
        (Limits(None, given=True, max_hours=6), InvalidInputError, "--lease none is longer than"),
        (
            Limits(24 * H, given=True, max_cost_usd=2.2),
            BudgetError,
            (
                r"--lease 1d costs \$25.30 \(\$0.10 creation fee \+ 24 h x \$1.0500/h\), over "
                r"--max-cost 2.2. It fits with --lease 2h."
            ),
        ),
        (Limits(max_cost_usd=0.01), BudgetError, r"does not pay for a minute at \$1.0500/h"),
    ],
)
def test_contradictions(limits, error, says):
    """They are refused, with the sum."""
    with pytest.raises(error, match=says):
        settle(limits, COST, None)


def test_a_limit_in_usd_needs_a_rate():
    """The limit is never silently dropped."""
    with pytest.raises(BudgetError, match="the USD price of bitcoin is not known"):
        settle(Limits(max_cost_usd=2), Cost(Price(1e-4, "bitcoin", None), 5e-6, None), None)


@given(
    st.builds(
        Limits,
        st.one_of(st.none(), st.floats(60, 1e6)),
        given=st.booleans(),
        max_hours=st.one_of(st.none(), st.floats(0.02, 500)),
        max_cost_usd=st.one_of(st.none(), st.floats(0.01, 500)),
    ),
    st.floats(0.01, 1000),
    st.one_of(st.none(), st.integers(1, 1440)),
)
def test_no_limit_is_ever_exceeded(limits, price, mrl_h):
    """The lease is within every limit, or it is refused."""
    cost = Cost(Price(price, USD, 1.0), price * 0.05, 0.1)
    try:
        settled = settle(limits, cost, mrl_h)
    except CloreAPIError:
        return
    if settled.lease_s is None:
        assert limits.given
        assert limits.max_hours is None
        return
    assert settled.lease_s <= (mrl_h or 10**9) * H + 1e-6
    assert settled.lease_s <= (limits.max_hours or 10**9) * H + 1e-6
    assert settled.at_most_usd <= (limits.max_cost_usd or 10**9) + 1e-6


@pytest.mark.parametrize(
    ("lease_h", "left_min", "near"),
    [(24, 145, False), (24, 143, True), (2, 31, False), (2, 29, True), (24, -60, True)],
)
def test_when_a_lease_is_near_its_end(lease_h, left_min, near):
    """It is near under 30 minutes, or under a tenth of the lease."""
    intent = Intent(5, "on-demand", "bitcoin", "i", lease_s=lease_h * H, ends_at=1e9)
    assert lease.is_near(intent, 1e9 - left_min * 60) == near
    intent.ends_at = None
    assert not lease.is_near(intent, 1e9)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-3, "0s"),
        (0.4, "0s"),
        (59.4, "59s"),
        (60, "1m"),
        (598, "9m"),
        (7_230, "2h"),
        (90_000, "25h"),
    ],
)
def test_remaining_time_is_in_whole_minutes(seconds, said):
    """Below a minute it is in seconds; 598s is hard to read."""
    assert lease.left(seconds) == said
