"""Reads quantities as a user types them, and formats those of machines and orders."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import click

from clore_ai._values import sizes
from clore_ai._values.lengths import duration
from clore_ai.models.price import per_hour

if TYPE_CHECKING:
    from datetime import datetime

_PRICE = re.compile(
    r"\$?\s*(?P<amount>\d+(\.\d*)?|\.\d+)\s*(/\s*(?P<unit>h|hr|hour|d|day))?", re.IGNORECASE
)


def read_usd_per_hour(text: str) -> float:
    """An option's type: ``0.5``, ``0.5/h`` or ``12/day`` in USD per hour."""
    found = _PRICE.fullmatch(text.strip())
    if not found:
        raise click.BadParameter(
            f"{text!r} is not a price in USD; write 0.5/h (per hour) or 12/day."
        )
    amount = float(found["amount"])
    return per_hour(amount) if (found["unit"] or "h").lower().startswith("d") else amount


def read_share(text: str) -> float:
    """An option's type: ``0.98`` or ``98%`` as a share."""
    number = text.strip()
    try:
        share = float(number[:-1]) / 100 if number.endswith("%") else float(number)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise click.BadParameter(f"{text!r} is not a share; write 0.98 or 98%.")
    return share


def read_size(text: str) -> int:
    """An option's type: ``500MB`` or ``2GB`` in bytes."""
    try:
        size = sizes.read(text)
    except ValueError as exc:
        raise click.BadParameter(f"{exc}.") from None
    if size <= 0:
        raise click.BadParameter(f"{text!r} is not a size above 0; write 500MB or 2GB.")
    return size


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


def exports(variables: dict[str, str]) -> str:
    """Shell lines that set these variables."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())
