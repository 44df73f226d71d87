"""Gives the sample fleet the correlations of the captured body of 2024 (3,500 servers); pure.

There each server has a price in bitcoin, and both kinds of price name the same coins. An allowed
coin has a price, but not every coin with a price is allowed. A server that accepts bitcoin alone
mostly has no other price. Whole numbers are written as integers. An unrated server has rating 0
with 0 votes. A network that was not measured is 0 in both directions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from clore_sandbox.fleet.rates import RATES_2026, USD_FIELD

if TYPE_CHECKING:
    import random

    from clore_sandbox.values.json_types import JsonObject

__all__ = ["tidy", "vary"]

_DISKS = (
    "SPCCx20Solidx20Statex 96.8613GB",
    "KINGSTONx20SA400S37120G 91.8174GB",
    "P3-128x20x20x20x20x 106.2141GB",
    "TOSHIBAx20MQ01ABD075x2 668.0285GB",
    "Samsungx20SSDx20870x2 444.5564GB",
    "Vasekyx20V850x2f128Gx 105.6229GB",
    "WD_BLACK SN770 1TB 903.4681GB",
    "NVMe disk 191.8193359375GB",
    "0578 201.3926GB",
    " 101.275390625GB",
    " 1709.1719GB",
)
"""As in the captured body: spaces as `x20`, truncated names, many without a name."""
_BITCOIN_ALONE, _BITCOIN_ONLY, _CLORE_ONLY = 0.08, 0.02, 0.08
"""Shares of 3,500: bitcoin alone without and with a price in CLORE; CLORE alone."""
_USD_NOT_ALLOWED = 0.07
"""81 of the 1,156 servers with a price in USD do not allow it."""


def tidy(record: JsonObject) -> None:
    """Apply to an invented record what holds for every server."""
    price, rating = _part(record, "price"), _part(record, "rating")
    if record.get("autoprice"):
        _follow_usd(price)
    for tier in (_part(price, "on_demand"), _part(price, "spot")):
        for coin, amount in tier.items():
            tier[coin] = _whole(cast("float", amount), is_clore=coin == "CLORE-Blockchain")
    rating["avg"] = _whole(cast("float", rating["avg"]))
    _value(price)


def vary(record: JsonObject, draw: random.Random) -> None:
    """Apply what holds for some servers, at random."""
    specs = _part(record, "specs")
    _choose_coins(_part(record, "price"), cast("list[str]", record["allowed_coins"]), draw)
    specs["disk"] = draw.choice(_DISKS)
    if draw.random() < 0.025:  # noqa: PLR2004 - 86 of 3,500
        specs["disk_speed"] = 0
    if draw.random() < 0.015:  # noqa: PLR2004 - 52 of 3,500
        _part(specs, "net").update(down=0, up=0)
    if draw.random() < 0.13:  # noqa: PLR2004 - 454 of 3,500
        _part(record, "rating").update(avg=0, cnt=0)
    if draw.random() < 0.157:  # noqa: PLR2004 - 550 of 3,500
        record["oc"] = True


def _part(record: JsonObject, name: str) -> JsonObject:
    return cast("JsonObject", record[name])


def _whole(amount: float, *, is_clore: bool = False) -> float:
    """The number as the service writes it; six in seven prices in CLORE are whole."""
    if is_clore and amount > 10 and round(amount * 100) % 7:  # noqa: PLR2004 - where rounding changes little
        amount = round(amount)
    return int(amount) if float(amount).is_integer() else amount


def _choose_coins(price: JsonObject, allowed: list[str], draw: random.Random) -> None:
    drawn = draw.random()
    if drawn < _BITCOIN_ALONE + _BITCOIN_ONLY:
        allowed.remove("CLORE-Blockchain")
        if drawn < _BITCOIN_ALONE:
            for tier in ("on_demand", "spot"):
                del _part(price, tier)["CLORE-Blockchain"]
    elif drawn < _BITCOIN_ALONE + _BITCOIN_ONLY + _CLORE_ONLY:
        allowed.remove("bitcoin")
    if "USD-Blockchain" in allowed and draw.random() < _USD_NOT_ALLOWED:
        allowed.remove("USD-Blockchain")


def _follow_usd(price: JsonObject) -> None:
    """Derive an auto-priced server's prices from one price in USD, which it also shows."""
    tiers = _part(price, "on_demand"), _part(price, "spot")
    usd = cast("float", _part(price, "usd")["on_demand_usd"])
    coins = [coin for coin in tiers[0] if coin != "USD-Blockchain"]
    demanded, least = (cast("float", tier[coins[0]]) for tier in tiers)
    spot = round(usd * least / demanded, 2)
    for tier, value in zip(tiers, (usd, spot)):
        for coin in coins:
            tier[coin] = round(value / RATES_2026[coin], 8 if coin == "bitcoin" else 2)
    price["original_usd"] = {coin: {"on_demand": usd, "spot": spot} for coin in coins}


def _value(price: JsonObject) -> None:
    """Add the service's conversions to USD; without a price in USD, the cheapest coin's."""
    on_demand = _part(price, "on_demand")
    usd: JsonObject = {
        USD_FIELD[coin]: round(cast("float", on_demand[coin]) * rate, 8)
        for coin, rate in RATES_2026.items()
        if coin in on_demand
    }
    usd.setdefault("on_demand_usd", min(cast("list[float]", list(usd.values()))))
    price["usd"] = {**usd, "spot": 0}
    original = cast("JsonObject", price.get("original_usd", {}))
    for coin in set(original) - set(on_demand):
        del original[coin]
