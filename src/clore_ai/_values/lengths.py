"""Lengths of time in words. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta


def duration(span: timedelta | float | None) -> str:
    """``2d 3h``, ``4h 10m``, ``58s``; two units at most."""
    if span is None:
        return "-"
    seconds = int(span if isinstance(span, (int, float)) else span.total_seconds())
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"
