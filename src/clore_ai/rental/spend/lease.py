"""How long an order may run: reads, prints and settles leases, and finds those that end soon.

A lease is counted by the service's clock, from the start of the order. The service does not know
the lease: the process that watches the order ends it (`limits.enforce`). Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from math import inf
from typing import TYPE_CHECKING

from clore_ai.exceptions import BudgetError, InvalidInputError
from clore_ai.models.price import DAY_S, hourly

if TYPE_CHECKING:
    from clore_ai.models.records import Enforced, Intent
    from clore_ai.rental.market.cost import Cost

DEFAULT_S = 24 * 3600.0
NEAR_S, NEAR_SHARE = 30 * 60.0, 0.1
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": DAY_S}
_LENGTH = re.compile(r"([0-9]{1,9}(?:\.[0-9]{0,9})?)\s*([smhd]?)", re.IGNORECASE | re.ASCII)
_LONGEST_S = 1e6 * DAY_S
"""The longest time that a calendar can show."""
_SECONDS_MATTER_S = 600.0


def read(text: str, alone: str = "s") -> float | None:
    """``90s``, ``30m``, ``6h``, ``2d`` as seconds; None for ``none``.

    `alone`: the unit of a number without one.

    Raises:
        InvalidInputError: it is none of these, or not above 0.
    """
    if text.strip().lower() == "none":
        return None
    found = _LENGTH.fullmatch(text.strip())
    seconds = float(found[1]) * _UNITS[found[2].lower() or alone] if found else 0.0
    if not 0 < seconds <= _LONGEST_S:
        raise InvalidInputError(f"{text!r} is not a length of time; write 90m, 6h, 2d or none.")
    return seconds


def above_0(**limits: float | None) -> None:
    """Check that each given limit is a number above 0.

    Raises:
        InvalidInputError: one is not.
    """
    for name, value in limits.items():
        if value is not None and not 0 < value < inf:
            raise InvalidInputError(
                f"{name} must be a number above 0, not {value!r}; leave it out for no limit.", 2
            )


def words(seconds: float) -> str:
    """A length that `read` accepts, never above `seconds`: ``90s``, ``90m``, ``6h``, ``2d``."""
    if seconds < _SECONDS_MATTER_S and (seconds + 1e-6) % 60 >= 1:
        return f"{int(seconds)}s"
    minutes = int((seconds + 1e-6) // 60)
    for unit, size in (("d", 1440), ("h", 60)):
        if minutes % size == 0 and minutes >= size:
            return f"{minutes // size}{unit}"
    if minutes >= 6 * 60:  # in hours, as minutes don't matter
        return f"{minutes // 60}h"
    return f"{minutes}m"


def left(seconds: float) -> str:
    """About how long is left: ``9m``, ``2h``; below a minute ``40s``."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{max(0.0, seconds):.0f}s"
    return words(seconds - seconds % 60)


def moment(unix_s: float) -> str:
    """``2026-07-11 14:00 UTC``."""
    return f"{datetime.fromtimestamp(unix_s, timezone.utc):%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True)
class Limits:
    """The user's limits for an order's end. `lease_s`: None for no end, if `given`."""

    lease_s: float | None = None
    given: bool = False
    max_hours: float | None = None
    max_cost_usd: float | None = None
    default_s: float | None = DEFAULT_S
    """The lease if none is given; None for none: then only the other limits end the order."""
    enforced: Enforced = "always"
    """As in `Intent`."""

    @property
    def longest_s(self) -> float:
        """The longest time that the time limits allow; `inf` if there is none."""
        hours = inf if self.max_hours is None else self.max_hours
        return min(hours * 3600, inf if self.lease_s is None else self.lease_s)


@dataclass(frozen=True)
class Settled:
    """The resulting lease, what shortened it, and the most that the order then costs."""

    lease_s: float | None
    because: str | None
    at_most: float | None
    """In the coin, fees included; None if nothing ends the order."""
    at_most_usd: float | None


def settle(limits: Limits, cost: Cost, mrl_h: float | None) -> Settled:
    """The lease of a new order: as requested, but never longer than the host allows (`mrl_h`).

    Without `--lease` it is the default, shortened by the other limits; if they contradict an
    explicit lease, that is refused.

    Raises:
        InvalidInputError: ``--lease`` is longer than ``--max-hours``.
        BudgetError: ``--max-cost`` is less than the lease costs, or can't be checked.
    """
    lease_s = limits.lease_s if limits.given else limits.default_s
    because: str | None = None
    most = inf if limits.max_hours is None else limits.max_hours * 3600
    if (lease_s or inf) > most:
        if limits.given:
            asked = "none" if lease_s is None else words(lease_s)
            raise InvalidInputError(
                f"--lease {asked} is longer than --max-hours {limits.max_hours:g}; leave out one."
            )
        lease_s, because = most, "--max-hours"
    if limits.max_cost_usd is not None:
        affordable_s = _affordable_s(limits.max_cost_usd, cost)
        if limits.given and lease_s is not None and lease_s > affordable_s:
            raise BudgetError(_too_dear(limits.max_cost_usd, lease_s, affordable_s, cost))
        wanted_s = inf if lease_s is None and not limits.given else lease_s
        if wanted_s is not None and affordable_s < wanted_s:
            lease_s, because = affordable_s, "--max-cost"
    if mrl_h and lease_s is not None and lease_s > mrl_h * 3600:
        lease_s, because = mrl_h * 3600.0, "the host's longest rental"
    # Without a lease the service itself ends the order, after the host's longest rental.
    longest_s = mrl_h * 3600.0 if lease_s is None and mrl_h else lease_s
    at_most = None if longest_s is None else cost.of(longest_s)
    rate = cost.price.usd_per_coin
    at_most_usd = None if at_most is None or rate is None else at_most * rate
    if lease_s is None and limits.max_cost_usd is not None:
        at_most_usd = min(at_most_usd or inf, limits.max_cost_usd)
    return Settled(lease_s, because, at_most, at_most_usd)


def _affordable_s(max_cost_usd: float, cost: Cost) -> float:
    if cost.price.usd_per_coin is None:
        raise BudgetError(
            f"--max-cost is in USD, and the USD price of {cost.coin} is not known; pay in another "
            "coin, or limit the time with --max-hours."
        )
    seconds = cost.lasts_s(max_cost_usd / cost.price.usd_per_coin)
    if seconds < 60:  # noqa: PLR2004 - the service bills by the minute
        raise BudgetError(
            f"--max-cost {max_cost_usd:g} does not pay for a minute at "
            f"{hourly(cost.total.usd_per_hour or 0)}."
        )
    return seconds


def _too_dear(max_cost_usd: float, lease_s: float, affordable_s: float, cost: Cost) -> str:
    rate = cost.price.usd_per_coin or 0
    return (
        f"--lease {words(lease_s)} costs ${cost.of(lease_s) * rate:.2f} "
        f"(${cost.once(lease_s) * rate:.2f} creation fee + {lease_s / 3600:g} h x "
        f"{hourly(cost.total.usd_per_hour or 0)}), over --max-cost {max_cost_usd:g}. "
        f"It fits with --lease {words(affordable_s)}."
    )


def is_near(intent: Intent, now: float) -> bool:
    """Is its lease over, or does it end within 30 minutes, or within a tenth of its length?"""
    if intent.ends_at is None:
        return False
    return intent.ends_at - now < max(NEAR_S, NEAR_SHARE * (intent.lease_s or 0))
