"""Dates and times as a user types and reads them, in the user's own time zone."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone

import click

from clore_ai._values.days import midnight

_AGO = re.compile(r"(?P<count>\d{1,7}(\.\d+)?)(?P<unit>[smhdw]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def moment(text: str, now: float, option: str, *, end: bool = False) -> float:
    """Unix seconds of a date (``2026-05-01``) or an age (``7d``, ``90s``, ``30m``, ``2w``).

    Args:
        text: the user's input.
        now: unix seconds.
        option: the option's name, for the error.
        end: for a date, the end of that day instead of its start.

    Raises:
        BadParameter: the text is neither.
    """
    ago = _AGO.fullmatch(text.strip().lower())
    if ago:
        return now - float(ago["count"]) * _SECONDS[ago["unit"]]
    try:
        day = date.fromisoformat(text.strip())
        return midnight(day + timedelta(days=end))
    except (ValueError, OverflowError, OSError):
        raise click.BadParameter(
            f"{text!r} is not a date; write 2026-05-01, or 7d for the last seven days (30m, 12h, "
            "2w).",
            param_hint=f"'{option}'",
        ) from None


def shown(at: float) -> str:
    """A moment as ``2026-05-01 12:03 CEST``."""
    return _here(at, "%Y-%m-%d %H:%M")


def clock(at: float | None = None) -> str:
    """The time of day, ``12:03 CEST``; with the date if it is not today."""
    same_day = _local(at).date() == _local(None).date()
    return _here(at, "%H:%M" if same_day else "%Y-%m-%d %H:%M")


def stamp() -> str:
    """The present time, to begin a line about an event: ``12:03:59 CEST``."""
    return _here(None, "%H:%M:%S")


def zone() -> str:
    """The user's time zone: ``CEST``, or ``+03`` if it has no name."""
    return _here(None, "").strip()


def _here(at: float | None, form: str) -> str:
    return _local(at).strftime(f"{form} %Z")


def _local(at: float | None) -> datetime:
    utc = timezone.utc
    return (datetime.now(utc) if at is None else datetime.fromtimestamp(at, utc)).astimezone()
