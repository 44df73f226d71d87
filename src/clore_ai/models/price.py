"""Converts prices: coin per day, USD per hour and per day, and in words. Pure.

The service's prices are per **day**, for the whole server, in a coin (service.md, 2); 004 promises
USD per **hour**. Every conversion between them is here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

USD = "USD-Blockchain"
SHORT = {"bitcoin": "BTC", "CLORE-Blockchain": "CLORE", USD: "USD"}
"""Coin -> its short name in tables; `full` converts back."""
COINS = tuple(SHORT)
DAY_S = 86_400.0
_HOURS_PER_DAY = 24
_SMALL = 0.1
_WRITTEN = re.compile(
    r"\$?\s*(?P<amount>\d+(\.\d*)?|\.\d+)\s*(/\s*(?P<unit>h|hr|hour|d|day))?", re.IGNORECASE
)


def read(text: str) -> float:
    """``0.5``, ``0.5/h`` or ``12/day`` in USD per hour.

    Raises:
        ValueError: it is no price.
    """
    found = _WRITTEN.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is not a price in USD; write 0.5/h (per hour) or 12/day.")
    amount = float(found["amount"])
    return per_hour(amount) if (found["unit"] or "h").lower().startswith("d") else amount


def per_hour(per_day: float) -> float:
    """A price per day as a price per hour."""
    return per_day / _HOURS_PER_DAY


def per_day(usd_per_hour: float, usd_per_coin: float = 1.0) -> float:
    """A price in USD per hour as a price in the coin per day."""
    return usd_per_hour * _HOURS_PER_DAY / usd_per_coin


def hourly(usd_per_hour: float | None) -> str:
    """``$0.3250/h``, or ``-`` if unknown."""
    return "-" if usd_per_hour is None else f"${usd_per_hour:.4f}/h"


def daily(usd_per_day: float | None) -> str:
    """``$7.80/day``, or ``-`` if unknown."""
    return "-" if usd_per_day is None else f"${usd_per_day:.2f}/day"


def in_words(usd_per_hour: float | None) -> str:
    """``$0.3250/h = $7.80/day``."""
    usd_per_day = None if usd_per_hour is None else per_day(usd_per_hour)
    return f"{hourly(usd_per_hour)} = {daily(usd_per_day)}"


def columns(usd_per_day: float | None) -> tuple[str, str]:
    """``0.3250`` and ``7.80``, for columns with the headings ``$/h`` and ``$/day``."""
    return (
        ("-", "-")
        if usd_per_day is None
        else (f"{per_hour(usd_per_day):.4f}", f"{usd_per_day:.2f}")
    )


def usd(amount: float) -> str:
    """An amount as ``$12.50``; small ones with four places, so that they don't look like 0."""
    return f"${amount:.2f}" if amount >= _SMALL else f"${amount:.4f}"


def coin(amount: float | None) -> str:
    """An amount of a coin, with its significant digits: ``0.00000125``, ``110``, ``2.5``."""
    if amount is None:
        return "-"
    if amount == 0:
        return "0"
    text = f"{amount:.8f}" if abs(amount) < 1 else f"{amount:,.4f}"
    return text.rstrip("0").rstrip(".") or f"{amount:.3g}"


def coins(amounts: dict[str, float] | None, unit: str = "") -> str:
    """Amounts as ``0.1 bitcoin, 2 CLORE-Blockchain``; ``-`` for none."""
    return ", ".join(f"{coin(n)} {name}{unit}" for name, n in (amounts or {}).items()) or "-"


def short(coin: str | None) -> str:
    """A coin's short name in tables; ``-`` for none."""
    return SHORT.get(coin or "", coin or "-")


def full(coin: str) -> str:
    """The service's name of a coin, from that name or the short one."""
    names = {short.lower(): name for name, short in SHORT.items()}
    names |= {name.lower(): name for name in SHORT}
    return names.get(coin.strip().lower(), coin)


@dataclass(frozen=True)
class Price:
    """A price or a bid: `coin` per **day**, and its value in USD, or None if unknown."""

    per_day: float
    coin: str
    usd_per_coin: float | None

    @property
    def usd_per_day(self) -> float | None:
        """USD per day."""
        return None if self.usd_per_coin is None else self.per_day * self.usd_per_coin

    @property
    def usd_per_hour(self) -> float | None:
        """USD per hour."""
        return None if self.usd_per_day is None else per_hour(self.usd_per_day)

    def text(self) -> str:
        """``$0.3250/h = $7.80/day``; see `in_words`."""
        return in_words(self.usd_per_hour)


@dataclass
class Rates:
    """USD for one coin, as last read from the marketplace or an auction."""

    known: dict[str, float] = field(default_factory=dict[str, float])
    asked_at: float | None = None
    """When they were last requested from the service, on the monotonic clock."""

    def note(self, usd_per_coin: Mapping[str, float] | None) -> None:
        """Take over rates that were read; invalid ones are omitted."""
        self.known.update({c: rate for c, rate in (usd_per_coin or {}).items() if rate > 0})

    def usd(self, coin: str | None, noted: float | None = None) -> float | None:
        """USD for one `coin`; `noted` is the rate at which an order was rented, if it is known."""
        return 1.0 if coin == USD else noted or self.known.get(coin or "")

    def price(self, per_day: float, coin: str | None) -> Price:
        """The price of `per_day` in `coin`."""
        return Price(per_day, coin or "", self.usd(coin))
