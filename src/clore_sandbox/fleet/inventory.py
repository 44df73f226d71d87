"""`Inventory`: the servers on offer, from a captured `marketplace` body or the sample fleet.

Existing fields are kept as they are, odd ones included. An older body gets (unless `as_is`)
`price.usd`, `gpu_array`, and for about half of the hosts a price in USD-Blockchain, as on the live
service in 2026 (1,156 of about 2,100). The additions depend only on the server's id, so they are
the same in every run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import orjson

from clore_sandbox.fleet.rates import RATES_2026, USD_FIELD, implied_rates, usd_values
from clore_sandbox.fleet.sample import sample_fleet
from clore_sandbox.values.json_types import (
    JsonObject,
    as_int,
    as_list,
    as_number,
    as_object,
    as_text,
)
from clore_sandbox.values.money import to_units

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BadInventory", "Inventory", "gpu_names", "load", "on_demand_prices", "spot_prices"]

_COUNT = re.compile(r"(\d+)x ")
_MOST_ID = 2**63
"""Databases store 64-bit integers."""
_MOST_HOURS = 87_600
"""Ten years; the end of a longer rental could be beyond the calendar."""


class BadInventory(ValueError):  # noqa: N818 - read as a sentence where it is raised
    """The file or mapping is not a `marketplace` body."""


@dataclass(frozen=True)
class Inventory:
    """Server records in the body's order, and USD per coin.

    The records are kept as JSON, which takes a sixth of the memory: they are needed only when the
    marketplace starts and when it is reset.
    """

    packed: bytes
    rates: dict[str, float]

    @classmethod
    def of(cls, records: list[JsonObject], rates: dict[str, float]) -> Inventory:
        """An inventory of these records."""
        return cls(orjson.dumps(records), rates)

    @property
    def records(self) -> list[JsonObject]:
        """Parsed copies, which the caller may change."""
        return cast("list[JsonObject]", orjson.loads(self.packed))


def load(source: str | Path | Mapping[str, object] | None, *, as_is: bool, seed: int) -> Inventory:
    """The inventory from a file, a body, or (None) the seeded sample fleet."""
    if source is None:
        return Inventory.of(sample_fleet(seed), dict(RATES_2026))
    name = "the inventory"
    body: object = source
    if isinstance(source, (str, Path)):
        name = str(source)
        try:
            body = orjson.loads(Path(source).read_bytes())
        except OSError as exc:
            raise BadInventory(f"cannot read {name}: {exc.strerror}") from exc
        except ValueError as exc:
            raise BadInventory(f"{name} is not JSON: {exc}") from exc
    else:
        # A copy: the caller may change the mapping later.
        body = orjson.loads(orjson.dumps(dict(source)))
    servers = as_list((as_object(body) or {}).get("servers"))
    if servers is None:
        raise BadInventory(f"{name} is not a marketplace body: it has no list `servers`")
    records = [_checked(record, name) for record in servers]
    if len({record["id"] for record in records}) != len(records):
        raise BadInventory(f"{name} has two servers with the same id")
    rates = implied_rates(records)
    if not as_is:
        for record in records:
            modernise(record, rates)
    return Inventory.of(records, rates)


def _checked(value: object, name: str) -> JsonObject:
    record = as_object(value)
    number = as_int(record.get("id")) if record is not None else None
    if record is None or number is None:
        raise BadInventory(f"{name}: every server must be an object with an id")
    if abs(number) >= _MOST_ID:
        raise BadInventory(f"{name}: the server id {number} is out of range")
    record["id"] = number
    return record


def modernise(record: JsonObject, rates: Mapping[str, float]) -> None:
    """Add the fields that the service has added since a record was captured."""
    if "gpu_array" not in record:
        # Short names behind a space, as on the live service (service.md section 3).
        record["gpu_array"] = [_short_name(gpu) for gpu in gpu_names(record)]
    price = as_object(record.get("price"))
    if price is None or "usd" in price:
        return
    on_demand = as_object(price.get("on_demand"))
    if on_demand is None:
        return
    allowed = as_list(record.get("allowed_coins")) or []
    values = usd_values(on_demand, rates)
    payable = [values[coin] for coin in values if coin in allowed and values[coin] > 0]
    if payable and "USD-Blockchain" not in on_demand:
        _price_in_usd(record, on_demand, min(payable), rates)
        values = usd_values(on_demand, rates)
    usd: JsonObject = {USD_FIELD[coin]: round(value, 8) for coin, value in values.items()}
    if "on_demand_usd" not in usd and payable:
        # 004 reads this field as the server's price; without a price in USD, the cheapest coin's.
        usd["on_demand_usd"] = round(min(payable), 8)
    # 0 in every sample of the live service.
    usd["spot"] = 0
    price["usd"] = usd


def _price_in_usd(
    record: JsonObject, on_demand: JsonObject, cheapest: float, rates: Mapping[str, float]
) -> None:
    draw = (cast("int", record["id"]) * 2_654_435_761) % 1_000
    if draw >= 550:  # noqa: PLR2004 - 55 %: 1,156 of about 2,100 servers
        return
    on_demand["USD-Blockchain"] = max(0.01, round(cheapest, 2))
    allowed = as_list(record.get("allowed_coins")) or []
    spot = as_object((as_object(record.get("price")) or {}).get("spot")) or {}
    spot_values = [value for coin, value in usd_values(spot, rates).items() if coin in allowed]
    if spot_values:
        spot["USD-Blockchain"] = max(0.01, round(min(spot_values), 2))
    # 81 of the 1,156 did not allow USD.
    if draw >= 39:  # noqa: PLR2004 - 7 % of 550
        allowed.append("USD-Blockchain")


def gpu_names(record: Mapping[str, object]) -> list[str]:
    """The full name of each GPU: as many as the `Nx ` prefix of `specs.gpu`, or one without it."""
    text = (as_text((as_object(record.get("specs")) or {}).get("gpu")) or "").strip()
    if not text:
        return []
    match = _COUNT.match(text)
    return [text[match.end() :]] * int(match[1]) if match else [text]


def _short_name(full: str) -> str:
    return full.removeprefix("NVIDIA").removeprefix(" GeForce")


def on_demand_prices(record: Mapping[str, object]) -> dict[str, int]:
    """Units per day by coin; invalid prices are omitted."""
    return _prices(record, "on_demand")


def spot_prices(record: Mapping[str, object]) -> dict[str, int]:
    """Least bids in units per day by coin; invalid prices are omitted."""
    return _prices(record, "spot")


def _prices(record: Mapping[str, object], kind: str) -> dict[str, int]:
    price = as_object(record.get("price")) or {}
    prices: dict[str, int] = {}
    for coin, value in (as_object(price.get(kind)) or {}).items():
        number = as_number(value)
        if number is not None and number >= 0:
            try:
                prices[coin] = to_units(number)
            except ValueError:
                continue
    return prices


def max_rental_ms(record: Mapping[str, object]) -> int:
    """The longest rental: `mrl`, which is in hours here (service.md section 2)."""
    hours: int | None = as_int(record.get("mrl"))
    return (min(hours, _MOST_HOURS) if hours is not None and hours > 0 else 1) * 3_600_000
