"""Reads a host's settings from a request, and applies them to a server's record; pure.

`set_server_settings` has two forms (service.md section 3). The old one of 004 names `on_demand` and
`spot`, which are prices in bitcoin. The current one names `<coin>_on_demand`, `<coin>_spot`,
`enabled-<coin>`, and with `autoprice` (`{"bitcoin": "usd"}`) and `usd_pricing` (`{"bitcoin":
{"on_demand": 2, "spot": 1}}`) prices in USD that are turned into the coin. All prices are per day.

All settings must be sent together: `availability`, `mrl` in hours, and both prices of every enabled
coin; otherwise the error is `not_all_parameters_present`. A coin that a request does not mention
keeps its settings. The reference dialect accepts a part of the settings, as 004 sends them, and
keeps the others.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from clore_sandbox.fleet.inventory import on_demand_prices, spot_prices
from clore_sandbox.fleet.rates import USD_FIELD
from clore_sandbox.rules import ErrorName, Refusal
from clore_sandbox.values.json_types import JsonObject, as_int, as_list, as_number, as_object
from clore_sandbox.values.money import COINS, to_units, to_wire

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["UNCONNECTED", "Settings", "applied", "read_settings", "settings_of"]

MAX_MRL_HOURS = 8_760
"""A year; the longest that was observed is 1,440 hours."""
_MOST = 10**18  # units: a million coins a day


class _Refused(Exception):  # noqa: N818 - carries a refusal, not a fault
    def __init__(self, error: ErrorName) -> None:
        self.refusal = Refusal(error)


@dataclass(frozen=True)
class Settings:
    """A host's settings of one server; prices in units per day, `usd` as (on demand, spot)."""

    available: bool
    mrl: int
    on_demand: dict[str, int] = field(default_factory=dict[str, int])
    spot: dict[str, int] = field(default_factory=dict[str, int])
    enabled: tuple[str, ...] = ()
    auto: tuple[str, ...] = ()
    usd: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])

    def to_json(self) -> str:
        """For the store."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Settings:
        """What `to_json` wrote."""
        data = json.loads(text)
        data["usd"] = {coin: tuple(pair) for coin, pair in data["usd"].items()}
        data["enabled"], data["auto"] = tuple(data["enabled"]), tuple(data["auto"])
        return cls(**data)


UNCONNECTED = Settings(available=False, mrl=72)
"""The settings of a server before it first connects: hidden, and no price."""


def read_settings(
    body: JsonObject, known: Settings, rates: Mapping[str, float], *, partial: bool = False
) -> Settings | Refusal:
    """The settings in a request, or its refusal.

    Missing settings are refused first, then `mrl`, then others. With `partial`, missing settings
    are taken from `known`.
    """
    try:
        return _read(body, known, rates, partial=partial)
    except _Refused as refused:
        return refused.refusal


def _read(
    body: JsonObject, known: Settings, rates: Mapping[str, float], *, partial: bool
) -> Settings:
    fields = dict(body)
    for old, current in (("on_demand", "bitcoin_on_demand"), ("spot", "bitcoin_spot")):
        if fields.get(old) is not None:
            fields.setdefault(current, fields[old])
    if partial:
        fields = _completed(fields, known)
    mentioned = [coin for coin in COINS if _mentions(fields, coin)]
    missing = [name for name in ("availability", "mrl") if fields.get(name) is None]
    if missing or not (mentioned or partial):
        raise _Refused("not_all_parameters_present")
    auto = _auto_coins(fields.get("autoprice"), known)
    settings = known
    for coin in mentioned:
        settings = _with_coin(fields, settings, coin, auto, rates)
    mrl = as_int(fields["mrl"])
    if mrl is None or not 1 <= mrl <= MAX_MRL_HOURS:
        raise _Refused("invalid_mrl")
    available = fields["availability"]
    can_be_rented = bool(settings.enabled) or (partial and not available)
    if not isinstance(available, bool) or not can_be_rented:
        raise _Refused("invalid_input")
    return replace(settings, available=available, mrl=mrl)


def _completed(fields: JsonObject, known: Settings) -> JsonObject:
    """The request, completed by the known settings, the other price of a coin included."""
    whole: JsonObject = {"availability": known.available, "mrl": known.mrl}
    for coin in COINS:
        if _mentions(fields, coin):
            for name, prices in zip(_names(coin), (known.on_demand, known.spot)):
                if prices.get(coin):
                    whole[name] = to_wire(prices[coin])
    return whole | {name: value for name, value in fields.items() if value is not None}


def _names(coin: str) -> tuple[str, str, str]:
    return f"{coin}_on_demand", f"{coin}_spot", f"enabled-{coin}"


def _mentions(fields: Mapping[str, object], coin: str) -> bool:
    in_usd = as_object(fields.get("usd_pricing")) or {}
    return coin in in_usd or any(fields.get(name) is not None for name in _names(coin))


def _auto_coins(value: object, known: Settings) -> tuple[str, ...]:
    """The coins whose price follows USD; `"usd"` and a bool mean all or none."""
    if value is None:
        return known.auto
    if isinstance(value, bool):
        return COINS if value else ()
    if value == "usd":
        return COINS
    coins = as_object(value)
    if coins is None or any(coin not in COINS for coin in coins):
        raise _Refused("invalid_input")
    if any(how not in ("usd", True, False, None) for how in coins.values()):
        raise _Refused("invalid_input")
    return tuple(coin for coin in COINS if coins.get(coin))


def _with_coin(
    fields: Mapping[str, object],
    settings: Settings,
    coin: str,
    auto: tuple[str, ...],
    rates: Mapping[str, float],
) -> Settings:
    """The settings, with a request's changes for one coin."""
    demand_name, spot_name, enabled_name = _names(coin)
    enabled = fields.get(enabled_name, True)
    if enabled is None:
        enabled = True
    if not isinstance(enabled, bool):
        raise _Refused("invalid_input")
    others = tuple(c for c in settings.enabled if c != coin)
    in_usd = (as_object(fields.get("usd_pricing")) or {}).get(coin)
    pair = _pair(in_usd, "on_demand", "spot") if in_usd is not None else None
    usd = settings.usd | ({coin: pair} if pair else {})
    prices: tuple[int, int] | None = None
    if coin in auto and coin in usd:
        prices = _in_coin(usd[coin][0], coin, rates), _in_coin(usd[coin][1], coin, rates)
    elif fields.get(demand_name) is not None or fields.get(spot_name) is not None:
        prices = _pair(fields, demand_name, spot_name)
    elif enabled and coin in settings.on_demand and coin in settings.spot:
        prices = settings.on_demand[coin], settings.spot[coin]
    if prices is None and enabled:
        raise _Refused("not_all_parameters_present")
    return replace(
        settings,
        on_demand=settings.on_demand | ({coin: prices[0]} if prices else {}),
        spot=settings.spot | ({coin: prices[1]} if prices else {}),
        enabled=tuple(c for c in COINS if c in (*others, *([coin] if enabled else []))),
        auto=tuple(c for c in COINS if c in auto and c in usd),
        usd=usd,
    )


def _pair(value: object, first: str, second: str) -> tuple[int, int]:
    prices = as_object(value)
    if prices is None:
        raise _Refused("invalid_input")
    if prices.get(first) is None or prices.get(second) is None:
        raise _Refused("not_all_parameters_present")
    return _price(prices[first]), _price(prices[second])


def _price(value: object) -> int:
    number = as_number(value)
    try:
        units = to_units(number) if number is not None else 0
    except ValueError:
        units = 0
    if not 0 < units <= _MOST:
        raise _Refused("invalid_input")
    return units


def _in_coin(usd: int, coin: str, rates: Mapping[str, float]) -> int:
    """USD in a coin, rounded to 8 decimals like the service's prices; never 0."""
    return max(1, round(usd / rates[coin] / 10**4)) * 10**4


def settings_of(record: Mapping[str, object], *, available: bool) -> Settings:
    """The settings that a record of the marketplace shows."""
    allowed = as_list(record.get("allowed_coins")) or []
    original = as_object((as_object(record.get("price")) or {}).get("original_usd")) or {}
    usd: dict[str, tuple[int, int]] = {}
    for coin, entry in original.items():
        try:
            usd[coin] = _pair(entry, "on_demand", "spot")
        except _Refused:
            continue
    return Settings(
        available=available,
        mrl=as_int(record.get("mrl")) or 1,
        on_demand=on_demand_prices(record),
        spot=spot_prices(record),
        enabled=tuple(coin for coin in COINS if coin in allowed),
        auto=tuple(coin for coin in COINS if coin in usd),
        usd=usd,
    )


def applied(
    settings: Settings, record: Mapping[str, object], rates: Mapping[str, float]
) -> JsonObject:
    """The record as the next `marketplace` shows it."""
    in_usd = {
        coin: round(float(to_wire(units)) * rates[coin], 8)
        for coin, units in settings.on_demand.items()
        if coin in rates
    }
    usd: JsonObject = {USD_FIELD[coin]: value for coin, value in in_usd.items()}
    payable = [in_usd[coin] for coin in settings.enabled if coin in in_usd]
    if "on_demand_usd" not in usd and payable:
        # 004 reads this field as the server's price; without a price in USD, the cheapest coin's.
        usd["on_demand_usd"] = min(payable)
    usd["spot"] = 0  # in every sample of the live service
    price: JsonObject = {
        "on_demand": {coin: to_wire(units) for coin, units in settings.on_demand.items()},
        "spot": {coin: to_wire(units) for coin, units in settings.spot.items()},
        "usd": usd,
    }
    if settings.auto:
        price["original_usd"] = {
            coin: {
                "on_demand": to_wire(settings.usd[coin][0]),
                "spot": to_wire(settings.usd[coin][1]),
            }
            for coin in settings.auto
        }
    shown: JsonObject = {
        **record,
        "mrl": settings.mrl,
        "price": price,
        "allowed_coins": list(settings.enabled),
    }
    if settings.auto:
        return {**shown, "autoprice": "usd"}
    shown.pop("autoprice", None)
    return shown


@dataclass(frozen=True)
class Hosted:
    """A host's server in the store. `server` None: it has never connected."""

    name: str
    server: int | None
    init_token: str
    settings: Settings
    record: JsonObject
    online: bool
    rental: int
    until_ms: int | None
    """When the rental ends, if it is an order of this marketplace."""
    job: JsonObject | None

    @property
    def job_runs(self) -> bool:
        """Whether the background job runs: only while nobody rents the server."""
        return self.job is not None and self.online and self.rental == 0
