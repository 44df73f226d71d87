"""Prices in words: always both units, never a bare number."""

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

_SMALL = 0.1
_PRICE = re.compile(
    r"\$?\s*(?P<amount>\d+(\.\d*)?|\.\d+)\s*(/\s*(?P<unit>h|hr|hour|d|day))?", re.IGNORECASE
)


def read_usd_per_hour(text: str) -> float:
    """``0.5``, ``0.5/h`` or ``12/day`` as USD per hour: the type of a price option."""
    found = _PRICE.fullmatch(text.strip())
    if not found:
        raise click.BadParameter(
            f"{text!r} is not a price in USD; write 0.5/h (per hour) or 12/day."
        )
    amount = float(found["amount"])
    return per_hour(amount) if (found["unit"] or "h").lower().startswith("d") else amount


def read_share(text: str) -> float:
    """``0.98`` or ``98%`` as a share: the type of an option."""
    number = text.strip()
    try:
        share = float(number[:-1]) / 100 if number.endswith("%") else float(number)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise click.BadParameter(f"{text!r} is not a share; write 0.98 or 98%.")
    return share


def read_size(text: str) -> int:
    """``500MB`` or ``2GB`` in bytes: the type of an option."""
    try:
        size = sizes.read(text)
    except ValueError as exc:
        raise click.BadParameter(f"{exc}.") from None
    if size <= 0:
        raise click.BadParameter(f"{text!r} is not a size above 0; write 500MB or 2GB.")
    return size


def usd(amount: float) -> str:
    """``$12.50``; small sums to four places, so that none looks like nothing."""
    return f"${amount:.2f}" if amount >= _SMALL else f"${amount:.4f}"


def coin(amount: float | None) -> str:
    """An amount of a coin, with the digits that matter: ``0.00000125``, ``110``, ``2.5``."""
    if amount is None:
        return "-"
    if amount == 0:
        return "0"
    text = f"{amount:.8f}" if abs(amount) < 1 else f"{amount:,.4f}"
    return text.rstrip("0").rstrip(".") or f"{amount:.3g}"


SHORT = {"bitcoin": "BTC", "CLORE-Blockchain": "CLORE", "USD-Blockchain": "USD"}
"""The coins as tables show them; `full` reads them back."""


def coins(amounts: dict[str, float] | None, unit: str = "") -> str:
    """``0.1 bitcoin, 2 CLORE-Blockchain``; ``-`` for none."""
    return ", ".join(f"{coin(n)} {name}{unit}" for name, n in (amounts or {}).items()) or "-"


def short(coin: str | None) -> str:
    """A coin as tables show it; ``-`` for none."""
    return SHORT.get(coin or "", coin or "-")


def full(coin: str) -> str:
    """The service's name of a coin, from that or from the short one that tables show."""
    names = {short.lower(): name for name, short in SHORT.items()}
    names |= {name.lower(): name for name in SHORT}
    return names.get(coin.strip().lower(), coin)


def gpu(model: str | None) -> str:
    """``8x RTX 3090``: a GPU without its maker's words."""
    from clore_ai.models._base import short_gpu

    return short_gpu(model or "-")


def left(left_s: float | None) -> str:
    """What is left of a lease; ``over`` past its end, ``-`` without one."""
    return "over" if left_s is not None and left_s <= 0 else duration(left_s)


def gb(size: float | None) -> str | None:
    """``24G``: a size in GB."""
    return None if size is None else f"{size:.0f}G"


def share(of_one: float | None) -> str | None:
    """``98%``: a share of 1."""
    return None if of_one is None else f"{of_one:.0%}"


def until(end: datetime | None, now: float) -> str:
    """How long it is until `end`, as `duration`; ``-`` where it is unknown or over."""
    left_s = 0 if end is None else end.timestamp() - now
    return duration(left_s) if left_s > 0 else "-"


def iso(moment: datetime | None) -> str | None:
    """The moment for ``--json``: ISO 8601, with its zone."""
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def exports(variables: dict[str, str]) -> str:
    """Shell lines that set these variables."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())
