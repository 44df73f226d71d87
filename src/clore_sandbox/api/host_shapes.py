"""A hosted server as answers show it to its host: `my_servers` and `server_config`; pure.

service.md sections 3 and 6. A server that never connected has `init_token`, no `id`, no `specs`.
`rental_status` is 0 (not rented), 1 (on the spot market) or 2 (on demand), as the service's API
page has it. 004, and so the reference dialect, calls a hidden server `private`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from clore_sandbox.fleet.rates import usd_values
from clore_sandbox.rules.hosting import Hosted
from clore_sandbox.values.json_types import as_list
from clore_sandbox.values.money import COINS, to_wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clore_sandbox.api.order_shapes import Dialect
    from clore_sandbox.rules.hosting import Settings
    from clore_sandbox.values.json_types import JsonObject

__all__ = ["Hosted", "config", "server_row", "visibility"]


def visibility(dialect: Dialect, *, available: bool) -> str:
    """The `visibility` of a server that can or cannot be rented."""
    hidden = "private" if dialect == "reference" else "hidden"
    return "public" if available else hidden


def _prices(prices: Mapping[str, int]) -> JsonObject:
    # A server without a price shows 0.
    return {coin: to_wire(prices[coin]) for coin in COINS if coin in prices} or {"bitcoin": 0}


def server_row(hosted: Hosted, dialect: Dialect, rates: Mapping[str, float]) -> JsonObject:
    """One row of `my_servers`: as observed in 2025, or with the fields of 004's `MyServer`."""
    settings = hosted.settings
    row: JsonObject = {
        "name": hosted.name,
        "connected": hosted.server is not None,
        "visibility": visibility(dialect, available=settings.available),
        "pricing": _prices(settings.on_demand),
        "online": hosted.online,
        "min_spot_pricing": _prices(settings.spot),
    }
    if dialect == "reference":
        row["allowed_currencies"] = list(settings.enabled)
    if hosted.server is None:
        # 004 declares `id: int`, and clients built on it fail without one.
        number: JsonObject = {"id": 0} if dialect == "reference" else {}
        return {**row, **number, "init_token": hosted.init_token}
    gpus = _gpus(hosted.record)
    coins = {coin for coin in settings.enabled if coin != "USD-Blockchain"}
    in_usd = usd_values({c: float(to_wire(p)) for c, p in settings.on_demand.items()}, rates)
    return {
        **row,
        "id": hosted.server,
        "public_name": f"Server {hosted.server}",
        **_rental(hosted),
        "gpu_array": gpus,
        "gpu_count": len(gpus),
        **(_auto_by_coin(settings) if dialect == "reference" else _auto(settings)),
        "max_fair_price_usd": round(2 * min(in_usd.values(), default=0), 2),
        "max_poh_capacity": 0,
        "enable_only_btc": coins == {"bitcoin"},
        "enable_only_clore": coins == {"CLORE-Blockchain"},
        "enable_btc_and_clore": coins == {"bitcoin", "CLORE-Blockchain"},
        "mass_price_changeable": True,
        "is_vpn_enabled": False,
        "oc_gpus": json.dumps([_overclocking(name, place) for place, name in enumerate(gpus)]),
        "specs": hosted.record.get("specs"),
        "working_properly": True,
    }


def _gpus(record: JsonObject) -> list[str]:
    """Short names, without the leading space that they have in `marketplace`."""
    names = as_list(record.get("gpu_array")) or []
    return [name.strip() for name in names if isinstance(name, str)]


def _rental(hosted: Hosted) -> JsonObject:
    """`rented` is present only if true, with the rental's end in epoch milliseconds."""
    if hosted.rental == 0:
        return {}
    until: JsonObject = {} if hosted.until_ms is None else {"remaining_time": hosted.until_ms}
    return {"rented": True, **until}


def _auto(settings: Settings) -> JsonObject:
    """The price in USD of a server whose prices follow it: one for all coins."""
    if not settings.auto:
        return {}
    demand, spot = settings.usd[settings.auto[0]]
    prices = {"on_demand": to_wire(demand), "spot": to_wire(spot)}
    return {"usd_pricing": prices, "autoprice": "usd"}


def _auto_by_coin(settings: Settings) -> JsonObject:
    """The same in the form of the SDK of 2026: by coin."""
    if not settings.auto:
        return {}
    prices: JsonObject = {
        coin: {"on_demand": to_wire(demand), "spot": to_wire(spot)}
        for coin, (demand, spot) in settings.usd.items()
    }
    return {"usd_pricing": prices, "autoprice": dict.fromkeys(settings.auto, "usd")}


def _overclocking(name: str, place: int) -> JsonObject:
    """The ranges of a GPU's overclocking settings."""
    return {
        "name": name,
        "pci_core": place,
        "core": [-1000, 1000],
        "mem": [-2000, 6000],
        "power_limits": [100, 450],
        "default_power_limit": 350,
    }


def config(hosted: Hosted, dialect: Dialect, rates: Mapping[str, float]) -> JsonObject:
    """`config` of `server_config`; `usd_pricing` has every coin with a price."""
    settings = hosted.settings
    usd: JsonObject = {}
    for coin, units in settings.on_demand.items():
        if coin in settings.usd:
            demand, spot = (to_wire(price) for price in settings.usd[coin])
        elif coin in rates:
            demand = round(float(to_wire(units)) * rates[coin], 8)
            spot = round(float(to_wire(settings.spot.get(coin, 0))) * rates[coin], 8)
        else:
            continue
        usd[coin] = {"on_demand": demand, "spot": spot}
    fields: JsonObject = {
        "name": hosted.name,
        "connected": hosted.server is not None,
        "visibility": visibility(dialect, available=settings.available),
        "pricing": _prices(settings.on_demand),
        "spot_pricing": _prices(settings.spot),
        "usd_pricing": usd,
        "autoprice": dict.fromkeys(settings.auto, "usd"),
        "mrl": settings.mrl,
        "online": hosted.online,
        "initialized": hosted.server is not None,
        "rental_status": hosted.rental,
        "allowed_coins": list(settings.enabled),
        "background_job": hosted.job,
    }
    if hosted.server is not None:
        fields["id"] = hosted.server
        fields["gpu_array"] = hosted.record.get("gpu_array", [])
        fields["specs"] = hosted.record.get("specs")
    if hosted.until_ms is not None:
        fields["remaining_time"] = hosted.until_ms
    return fields
