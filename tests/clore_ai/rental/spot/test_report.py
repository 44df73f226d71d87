"""The report of a spot order in sentences: how long it ran, what it cost and saved."""

from __future__ import annotations

from dataclasses import replace

from clore_ai.rental.spot.report import SpotReport

REPORT = SpotReport(
    7, 3, "bitcoin", "stopped", 0.0001, 50_000.0, 7200.0, 3600.0, 1, 2, 0, 0.00002, 0.000001,
    0.00004,
)  # fmt: skip
RAN = "Order 7 ran 1h of 2h (50.0%), outbid once; the bid was raised 2 times and lowered 0 times."
COST = (
    "It cost $1.0500 (0.000021 bitcoin), fees included: $0.9500 (0.000019 bitcoin) (48%) less than "
    "on demand for the same time, $2.0000 (0.00004 bitcoin)."
)


def test_the_last_sentence_compares_with_on_demand() -> None:
    """In USD and in the coin, fees included."""
    assert REPORT.sentences() == [
        RAN,
        COST,
    ]


def test_unknown_is_said() -> None:
    """After one look nothing is counted; the order before a fallback comes first."""
    assert REPORT.row()["held_share"] == REPORT.held_share
    assert replace(REPORT, spend=None).sentences()[-1] == "What it cost is not known."
    unknown = replace(REPORT, on_demand=None, usd_per_coin=None, moved_from=REPORT).sentences()
    assert unknown[:2] == REPORT.sentences()
    assert unknown[-1] == (
        "It cost 0.000021 bitcoin, fees included; what on demand would have cost is not known."
    )
    assert replace(REPORT, seen_s=0.0).sentences() == [
        "Order 7: first check; savings are counted from now."
    ]
