"""Exchange rates, and prices in USD per day; pure.

The rates of a captured body of 2026 follow from its USD prices. One of 2024 has none, and gets
rates of its time (a 4090 costs about $6-10 a day).
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from clore_sandbox.values.json_types import as_number, as_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["RATES_2024", "RATES_2026", "USD_FIELD", "implied_rates", "usd_values"]

RATES_2024 = {"bitcoin": 70_000.0, "CLORE-Blockchain": 0.25, "USD-Blockchain": 1.0}
RATES_2026 = {"bitcoin": 92_000.0, "CLORE-Blockchain": 0.012, "USD-Blockchain": 1.0}

USD_FIELD = {
    "bitcoin": "on_demand_btc",
    "CLORE-Blockchain": "on_demand_clore",
    "USD-Blockchain": "on_demand_usd",
}
"""The field of `price.usd` with the value of each coin's on-demand price (service.md section 3)."""


def implied_rates(records: Iterable[Mapping[str, object]]) -> dict[str, float]:
    """USD per coin implied by the records: `usd.on_demand_btc / on_demand.bitcoin`."""
    seen: dict[str, list[float]] = {coin: [] for coin in USD_FIELD}
    for record in records:
        price = as_object(record.get("price")) or {}
        usd, coins = as_object(price.get("usd")) or {}, as_object(price.get("on_demand")) or {}
        for coin, name in USD_FIELD.items():
            value, amount = as_number(usd.get(name)), as_number(coins.get(coin))
            if value and amount:
                seen[coin].append(value / amount)
    rates = {coin: median(values) for coin, values in seen.items() if values}
    if "bitcoin" in rates:
        # Renters' wallets need a rate even for a coin that no host accepts.
        return {**RATES_2026, **rates, "USD-Blockchain": 1.0}
    return dict(RATES_2024)


def usd_values(on_demand: Mapping[str, object], rates: Mapping[str, float]) -> dict[str, float]:
    """USD per day for each coin whose price is a number."""
    values: dict[str, float] = {}
    for coin, rate in rates.items():
        price = as_number(on_demand.get(coin))
        if price is not None:
            values[coin] = price * rate
    return values
