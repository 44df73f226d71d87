"""Money as integers of 1e-12 coin, so that the books balance exactly.

Promises: no binary floating point between the wire and the books. A float on the wire stands for
its shortest decimal form (0.00003 means 3e-05, not 3.00000000000000007e-05).
"""

from __future__ import annotations

from decimal import Decimal

__all__ = ["COINS", "DAY_S", "UNITS_PER_COIN", "from_units", "to_units", "to_wire"]

COINS = ("bitcoin", "CLORE-Blockchain", "USD-Blockchain")
"""The three wallets of the service (service.md section 3, wallets)."""
UNITS_PER_COIN = 10**12
DAY_S = 86_400
MAX_UNITS = 2**63 - 1
"""SQLite and PostgreSQL hold 64-bit integers: about 9.2 million coins."""


def to_units(amount: float | str | Decimal) -> int:
    """An amount in units of 1e-12, rounded half to even; ValueError if it is out of range."""
    value = amount if isinstance(amount, Decimal) else Decimal(str(amount))
    if not value.is_finite() or abs(value) * UNITS_PER_COIN > MAX_UNITS:
        raise ValueError(f"not an amount of a coin that a wallet can hold: {amount}")
    return int((value * UNITS_PER_COIN).to_integral_value())


def from_units(units: int) -> Decimal:
    """The exact amount of a coin."""
    return Decimal(units) / UNITS_PER_COIN


def to_wire(units: int) -> int | float:
    """The amount as the service writes it: an integer if it is whole (`"price": 2`)."""
    whole, rest = divmod(units, UNITS_PER_COIN)
    return whole if rest == 0 else float(from_units(units))
