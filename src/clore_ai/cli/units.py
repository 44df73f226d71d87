"""Formats the quantities of machines and orders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_ai._values.lengths import duration

if TYPE_CHECKING:
    from datetime import datetime


def gpu(model: str | None) -> str:
    """A GPU as ``8x RTX 3090``, without its maker's name."""
    from clore_ai.models._base import short_gpu

    return short_gpu(model or "-")


def left(left_s: float | None) -> str:
    """The time left of a lease; ``over`` past its end, ``-`` without one."""
    return "over" if left_s is not None and left_s <= 0 else duration(left_s)


def gb(size: float | None) -> str | None:
    """A size in GB as ``24G``."""
    return None if size is None else f"{size:.0f}G"


def share(of_one: float | None) -> str | None:
    """A share of 1 as ``98%``."""
    return None if of_one is None else f"{of_one:.0%}"


def until(end: datetime | None, now: float) -> str:
    """The time until `end`, as `duration`; ``-`` if it is unknown or past."""
    left_s = 0 if end is None else end.timestamp() - now
    return duration(left_s) if left_s > 0 else "-"
