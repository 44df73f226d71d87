"""Days and moments in this machine's time zone: read, written, counted. Pure."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_AGO = re.compile(r"(?P<count>\d{1,7}(\.\d+)?)(?P<unit>[smhdw]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def read(text: str, now: float, *, end: bool = False) -> float:
    """Unix seconds of a date (``2026-05-01``) or an age (``7d``, ``90s``, ``30m``, ``2w``).

    `end`: for a date, the end of that day instead of its start.

    Raises:
        ValueError: the text is neither.
    """
    ago = _AGO.fullmatch(text.strip().lower())
    if ago:
        return now - float(ago["count"]) * _SECONDS[ago["unit"]]
    try:
        return midnight(date.fromisoformat(text.strip()) + timedelta(days=end))
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"{text!r} is not a date; write 2026-05-01, or 7d for the last seven days (30m, 12h, "
            "2w)."
        ) from None


def shown(at: float, form: str = "%Y-%m-%d %H:%M") -> str:
    """A moment as ``2026-05-01 12:03 CEST``."""
    return _here(at).strftime(f"{form} %Z")


def clock(at: float, now: float) -> str:
    """The time of day, ``12:03 CEST``; with the date if it is not today."""
    return shown(at, "%H:%M") if _here(at).date() == _here(now).date() else shown(at)


def _here(at: float) -> datetime:
    return datetime.fromtimestamp(at, timezone.utc).astimezone()


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
