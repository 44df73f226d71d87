"""The days of this machine's time zone. Pure."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def midnight(day: date) -> float:
    """When a day begins, in unix seconds."""
    return datetime.combine(day, time()).astimezone().timestamp()


def days(begin: float, end: float) -> Iterator[tuple[str, float, float]]:
    """Each day that the time touches: its date, begin and end in unix seconds."""
    day = datetime.fromtimestamp(begin).astimezone().date()
    while (first := midnight(day)) <= end:
        following = day + timedelta(days=1)
        yield day.isoformat(), first, midnight(following)
        day = following
