"""How a host sees a server: a row of `my_servers`, and `server_config`; pure.

api.md section 3. A server that has never connected has `init_token` and no `id`, no `specs`.
`rental_status` is 0 (not rented), 1 (on the spot market) or 2 (on demand), as the service's API
page has it. 004 calls a hidden server `private`; so does the reference dialect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from clore_sandbox.money import COINS, to_wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clore_sandbox.rules.hosting import Settings
    from clore_sandbox.shapes import Dialect
    from clore_sandbox.values import JsonObject

__all__ = ["Hosted", "config", "server_row", "visibility"]


@dataclass(frozen=True)
class Hosted:
    """One server of a host as the store has it. `server` None: it has never connected."""

    name: str
    server: Optional[int]
    init_token: str
    settings: Settings
    record: JsonObject
    online: bool
    rental: int
    job: Optional[JsonObject]

    @property
    def job_runs(self) -> bool:
        """The host's own job runs while nobody rents."""
        return self.job is not None and self.online and self.rental == 0


def visibility(dialect: Dialect, *, available: bool) -> str:
    """The word for a server that can or cannot be rented."""
    hidden = "private" if dialect == "reference" else "hidden"
    return "public" if available else hidden


def _prices(prices: Mapping[str, int]) -> JsonObject:
    # A server without a price says 0 rather than nothing.
    return {coin: to_wire(prices[coin]) for coin in COINS if coin in prices} or {"bitcoin": 0}


def server_row(hosted: Hosted, dialect: Dialect) -> JsonObject:
    """One row of `my_servers`."""
    settings = hosted.settings
    row: JsonObject = {
        "name": hosted.name,
        "connected": hosted.server is not None,
        "visibility": visibility(dialect, available=settings.available),
        "pricing": _prices(settings.on_demand),
        "online": hosted.online,
        "min_spot_pricing": _prices(settings.spot),
        "allowed_currencies": list(settings.enabled),
    }
    if hosted.server is None:
        return {**row, "init_token": hosted.init_token}
    return {
        **row,
        "id": hosted.server,
        "gpu_array": hosted.record.get("gpu_array", []),
        "specs": hosted.record.get("specs"),
        "working_properly": True,
    }


def config(hosted: Hosted, dialect: Dialect, rates: Mapping[str, float]) -> JsonObject:
    """`config` of `server_config`; `usd_pricing` is there for every coin that has a price."""
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
    return fields
