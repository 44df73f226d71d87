"""Updates a host's `reliability` and `rating`; pure.

Neither formula is documented. `reliability` (0-1) is the share of time online, where the past fades
over 30 days. `rating` is a mean of 0-5 stars. Each rental that lasted an hour or got a complaint is
one vote: five stars, or one star if its renter cancelled with an `issue` or the host was offline at
its end.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from clore_sandbox.values.json_types import as_int, as_number, as_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clore_sandbox.values.json_types import JsonObject

__all__ = ["LEAST_RENTAL_MS", "rated", "reliability"]

_FADES_MS = 30 * 86_400_000
LEAST_RENTAL_MS = 3_600_000
"""A rental of this length counts as a vote."""
_BEST, _WORST = 5, 1


def reliability(before: float, *, online: bool, lasted_ms: int) -> float:
    """The new value, after the host was online (or not) for this time."""
    aim = 1.0 if online else 0.0
    return round(aim + (before - aim) * math.exp(-lasted_ms / _FADES_MS), 4)


def rated(record: Mapping[str, object], *, good: bool) -> JsonObject:
    """The record's `rating` with one more vote."""
    rating = as_object(record.get("rating")) or {}
    count = max(0, as_int(rating.get("cnt")) or 0)
    mean = float(as_number(rating.get("avg")) or 0)
    total = mean * count + (_BEST if good else _WORST)
    return {**rating, "avg": round(total / (count + 1), 2), "cnt": count + 1}
