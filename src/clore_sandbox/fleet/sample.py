"""The sample fleet: a few hundred invented servers, distributed like the market in service.md, 3.

The same seed gives the same fleet. Prices are those of 2026 (USD per day). Oddities of the real
market are included, since clients must handle them: names behind a space, nested lists, a coin
without a price, a price for a coin that is not allowed, mixed GPUs, spot above on-demand, joke
prices. Properties are correlated as on the market: see correlations.py.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, cast

from clore_sandbox.fleet import correlations
from clore_sandbox.fleet.rates import RATES_2026

if TYPE_CHECKING:
    from clore_sandbox.values.json_types import JsonObject

__all__ = ["FLEET_SIZE", "sample_fleet", "sample_server"]

FLEET_SIZE = 300
_COINS = ["bitcoin", "CLORE-Blockchain", "USD-Blockchain"]

_GPUS = (
    ("NVIDIA GeForce RTX 4090", 24, 7.8, 22, 450),
    ("NVIDIA GeForce RTX 3060 Ti", 8, 1.1, 12, 200),
    ("NVIDIA GeForce RTX 3080", 10, 2.0, 9, 320),
    ("NVIDIA GeForce RTX 3070", 8, 1.3, 7, 220),
    ("NVIDIA GeForce RTX 3090", 24, 3.5, 8, 350),
    ("NVIDIA GeForce RTX 5090", 32, 8.7, 8, 575),
    ("NVIDIA GeForce RTX 3060", 12, 1.0, 5, 170),
    ("NVIDIA GeForce RTX 4070 Ti", 12, 2.6, 4, 285),
    ("NVIDIA RTX A6000", 48, 7.0, 4, 300),
    ("NVIDIA L40S", 48, 12.0, 3, 350),
    ("NVIDIA A100-SXM4-80GB", 80, 20.0, 2, 400),
    ("NVIDIA GeForce GTX 1660 SUPER", 6, 0.5, 3, 125),
    ("NVIDIA CMP 90HX", 10, 0.9, 2, 250),
    ("Tesla P40", 24, 1.4, 1, 250),
)
"""Name, VRAM in GB, USD per day for one, weight in the draw, power limit in W."""
_COUNTS = (
    (1, 932),
    (2, 582),
    (8, 529),
    (6, 363),
    (4, 316),
    (5, 189),
    (3, 180),
    (12, 148),
    (7, 124),
)
_COUNTRIES = (("RU", 2148), ("UA", 412), ("SE", 177), ("BY", 166), ("KR", 157), ("US", 72))
_CPUS = (
    ("AMD EPYC 7502 32-Core Processor", "32/64"),
    ("AMD Ryzen 9 5900X 12-Core Processor", "12/24"),
    ("Intel(R) Core(TM) i9-13900K", "24/32"),
    ("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", "14/28"),
    ("Intel(R) Celeron(R) CPU G3930 @ 2.90GHz", "2/2"),
)
_DISKS = (
    " 82.7261GB",
    "SAMSUNGx20MZVL2512HCJQ 438.2GB",
    "KINGSTON SNV2S1000G 862.4GB",
    "SSD 96.8613GB",
)
_MRL = ((72, 50), (168, 20), (240, 12), (24, 10), (1440, 5), (6, 3))
_PLAIN_4090S = 8
"""The first servers are single free 4090s with plain prices, so that a first rental finds one."""
_ODD = 20
"""Number of the first odd server; each odd server has one oddity."""


def sample_fleet(seed: int = 0, size: int = FLEET_SIZE) -> list[JsonObject]:
    """`size` server records in the shape of 2026."""
    draw = random.Random(seed)  # noqa: S311 - invented servers, not secrets
    fleet = [_server(draw, number) for number in range(size)]
    for record, oddity in zip(fleet[_ODD:], _ODDITIES):
        oddity(record)
    # With its own random numbers, so that servers keep most of their earlier properties.
    own = random.Random(f"habits of {seed}")  # noqa: S311 - invented servers, not secrets
    for record in (*fleet[_PLAIN_4090S:_ODD], *fleet[_ODD + len(_ODDITIES) :]):
        correlations.vary(record, own)
    for record in fleet:
        correlations.tidy(record)
    draw.shuffle(fleet)
    return fleet


def sample_server(seed: int = 0) -> JsonObject:
    """A free server with one 4090 and plain prices, for an account that hosts."""
    return _server(random.Random(seed), 0)  # noqa: S311 - an invented server, not a secret


def _pick(draw: random.Random, table: tuple[tuple[object, int], ...]) -> object:
    return draw.choices([row[0] for row in table], [row[1] for row in table])[0]


def _server(draw: random.Random, number: int) -> JsonObject:
    plain = number < _PLAIN_4090S
    row = _GPUS[0] if plain else draw.choices(_GPUS, [gpu[3] for gpu in _GPUS])[0]
    name, vram, usd_per_gpu, _, watts = row
    count = 1 if plain else cast("int", _pick(draw, _COUNTS))
    usd = round(usd_per_gpu * count * draw.uniform(0.75, 1.6), 2)
    cpu, cores = draw.choice(_CPUS)
    short = name.removeprefix("NVIDIA").removeprefix(" GeForce")
    takes_usd = plain or draw.random() < 0.55  # noqa: PLR2004 - 1,156 of about 2,100
    record: JsonObject = {
        "id": 61_000 + number * 7,
        "owner": 2_000 + draw.randrange(400),
        "mrl": 168 if plain else _pick(draw, _MRL),
        "price": _prices(draw, usd, takes_usd=takes_usd),
        # 1,917 of 3,500.
        "rented": False if plain else draw.random() < 0.548,  # noqa: PLR2004
        "specs": {
            "mb": draw.choice(["PRIME Z270-A", "H12SSL-i", "X570-A PRO (MS-7C37)", ""]),
            "cpu": cpu,
            "cpus": cores,
            "ram": draw.choice([15.9378, 31.2, 62.67, 64.216, 125.7, 251.8, 503.6]),
            "disk": draw.choice(_DISKS),
            "disk_speed": round(draw.uniform(120, 4500), 2),
            "gpu": f"{count}x {name}",
            "gpuram": vram,
            "net": {
                "cc": _pick(draw, _COUNTRIES),
                "down": draw.uniform(20, 950),
                "up": draw.uniform(10, 900),
            },
            "backend_version": draw.choice([9, 19, 21]),
            "pcie_rev": draw.choice([2, 3, 4]),
            "pcie_width": draw.choice([1, 4, 8, 16]),
            "pl": [watts] * count,
            "stock_pl": [watts] * count,
        },
        "reliability": round(draw.uniform(0.99, 1) if plain else draw.random() ** 0.15, 4),
        "allowed_coins": [coin for coin in _COINS if takes_usd or coin != "USD-Blockchain"],
        "rating": {"avg": round(draw.uniform(3.5, 5), 2), "cnt": draw.randrange(1, 60)},
        "cuda_version": draw.choice(["12.2", "12.4", "12.8", "13.0"]),
        "gpu_array": [short] * count,
        "gigaspot": False,
    }
    if draw.random() < 0.2:  # noqa: PLR2004 - one host in five
        record["autoprice"] = "usd"
    return record


def _prices(draw: random.Random, usd: float, *, takes_usd: bool) -> JsonObject:
    btc = round(usd * draw.uniform(0.95, 1.2) / RATES_2026["bitcoin"], 8)
    clore = round(usd * draw.uniform(0.9, 1.15) / RATES_2026["CLORE-Blockchain"], 2)
    on_demand: JsonObject = {"bitcoin": btc, "CLORE-Blockchain": clore}
    discount = draw.uniform(0.5, 0.95)
    spot: JsonObject = {
        "bitcoin": round(btc * discount, 8),
        "CLORE-Blockchain": round(clore * discount, 2),
    }
    if takes_usd:
        on_demand["USD-Blockchain"] = usd
        spot["USD-Blockchain"] = round(usd * discount, 2)
    by_btc = round(btc * RATES_2026["bitcoin"], 8)
    by_clore = round(clore * RATES_2026["CLORE-Blockchain"], 8)
    return {
        "on_demand": on_demand,
        "spot": spot,
        "usd": {
            "on_demand_btc": by_btc,
            "on_demand_clore": by_clore,
            "on_demand_usd": usd if takes_usd else min(by_btc, by_clore),
            # 0 in every sample of the live service.
            "spot": 0,
        },
    }


def _part(record: JsonObject, *path: str) -> JsonObject:
    for name in path:
        record = cast("JsonObject", record[name])
    return record


def _nested_gpu_array(record: JsonObject) -> None:
    record["gpu_array"] = [record["gpu_array"]]


def _no_price_in_bitcoin(record: JsonObject) -> None:
    # Since 2026 any coin may be missing; but every free 4090 keeps its price in bitcoin.
    specs, gpus = _part(record, "specs"), cast("list[str]", record["gpu_array"])
    specs["gpu"] = cast("str", specs["gpu"]).replace("4090", "3090")
    record["gpu_array"] = [name.replace("4090", "3090") for name in gpus]
    for tier in ("on_demand", "spot"):
        del _part(record, "price", tier)["bitcoin"]
    del _part(record, "price", "usd")["on_demand_btc"]
    cast("list[str]", record["allowed_coins"]).remove("bitcoin")
    record["rented"] = False


def _price_in_a_coin_not_allowed(record: JsonObject) -> None:
    record["allowed_coins"] = ["CLORE-Blockchain"]
    record["rented"] = False


def _mixed_gpus(record: JsonObject) -> None:
    _part(record, "specs")["gpu"] = "6x Mixed GPUs"
    record["gpu_array"] = [" RTX 3090"] * 2 + [" RTX 3080"] * 4
    _part(record, "specs").update(pl=[350] * 2 + [320] * 4, stock_pl=[350] * 2 + [320] * 4)


def _spot_above_on_demand(record: JsonObject) -> None:
    prices = _part(record, "price")
    prices["spot"] = {
        coin: round(cast("float", price) * 1.5, 8)
        for coin, price in _part(prices, "on_demand").items()
    }


def _unreliable(record: JsonObject) -> None:
    record["reliability"] = 0
    record["rating"] = {"avg": 0, "cnt": 0}


def _joke_price(record: JsonObject) -> None:
    for tier in ("on_demand", "spot"):
        _part(record, "price")[tier] = {"bitcoin": 7500, "CLORE-Blockchain": 1_000_000}
    _part(record, "price")["usd"] = {
        "on_demand_btc": 7500 * RATES_2026["bitcoin"],
        "on_demand_clore": 1_000_000 * RATES_2026["CLORE-Blockchain"],
        "on_demand_usd": 1_000_000 * RATES_2026["CLORE-Blockchain"],
        "spot": 0,
    }
    record["allowed_coins"] = ["bitcoin", "CLORE-Blockchain"]
    record["rented"] = False


def _in_the_gigaspot(record: JsonObject) -> None:
    record["gigaspot"] = {"min_price": 0.5}
    record["rented"] = False


def _no_download_seen(record: JsonObject) -> None:
    _part(record, "specs", "net").update(down=0, up=0)
    _part(record, "specs")["ram"] = 1.87


def _partly_rentable(record: JsonObject) -> None:
    total = len(cast("list[object]", record["gpu_array"]))
    record["partial_gpu_rental"] = {
        "total_gpus": total,
        "available_gpus": total,
        "free_indices": list(range(total)),
    }


_ODDITIES = (
    _nested_gpu_array,
    _no_price_in_bitcoin,
    _price_in_a_coin_not_allowed,
    _mixed_gpus,
    _spot_above_on_demand,
    _unreliable,
    _joke_price,
    _in_the_gigaspot,
    _no_download_seen,
    _partly_rentable,
)
