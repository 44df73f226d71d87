"""Servers on the marketplace and what they cost (``GET marketplace``; service.md, 2-3).

Units: everything under `price` is per **day**, for the whole server, in the named coin, as the
service sends it. Derived values have their unit in the name, except 004's `price_usd` and
`spot_price_usd`, which 004 promises in USD per **hour**.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from clore_ai._values.kinds import as_number
from clore_ai.models._base import (
    Id,
    Model,
    Whole,
    count_gpus,
    describe_gpu,
    flat_gpus,
    matches_gpu,
)
from clore_ai.models.price import USD, per_hour

OrderType = Literal["on-demand", "spot"]

_USD_FIELDS = {
    "bitcoin": "on_demand_btc",
    "CLORE-Blockchain": "on_demand_clore",
    USD: "on_demand_usd",
}


class NetworkSpecs(Model):
    """Where a server is and how fast its network is."""

    cc: str | None = None
    """ISO country code, two letters."""
    down: float | None = None
    """Mbit/s; 0 occurs."""
    up: float | None = None
    """Mbit/s."""
    test_history: list[Any] | None = None


class ServerSpecs(Model):
    """Hardware, as the host's agent reports it."""

    mb: str | None = None
    """Mainboard; may be empty."""
    cpu: str | None = None
    cpus: str | None = None
    """``"cores/threads"``, e.g. ``"16/32"``."""
    ram: float | None = None
    """GB."""
    disk: str | None = None
    """Name and size in one string, e.g. ``"NAME 96.86GB"``; may start with a space."""
    disk_speed: float | None = None
    """MB/s."""
    gpu: str | None = None
    """E.g. ``"8x NVIDIA GeForce RTX 3090"``."""
    gpuram: float | None = None
    """GB of one GPU."""
    net: NetworkSpecs | None = None
    backend_version: Whole | None = None
    pcie_rev: Whole | None = None
    pcie_width: Whole | None = None
    xfs: Whole | None = None
    pl: list[Any] | None = None
    """Power limits in W; the length need not be the GPU count."""
    stock_pl: list[Any] | None = None
    stock_oc: Any | None = None


class PriceTier(Model):
    """Prices per **day** for the whole server, by coin; any may be missing."""

    bitcoin: float | None = None
    CLORE_Blockchain: float | None = Field(None, alias="CLORE-Blockchain")
    USD_Blockchain: float | None = Field(None, alias="USD-Blockchain")

    def of(self, coin: str) -> float | None:
        """The price in `coin` per day, or None if there is none."""
        named = as_number(getattr(self, coin.replace("-", "_"), None))
        return named if named is not None else as_number((self.model_extra or {}).get(coin))

    def coins(self) -> list[str]:
        """The coins that have a price, by the service's names."""
        named = [c for c in _USD_FIELDS if self.of(c) is not None]
        return named + [c for c in (self.model_extra or {}) if self.of(c) is not None]


class PriceUSD(Model):
    """The service's own conversions to USD, per **day**. `spot` is 0 in every sample: unknown."""

    on_demand_btc: float | None = None
    on_demand_clore: float | None = None
    on_demand_usd: float | None = None
    spot: float | None = None


class OriginalUSDEntry(Model):
    """The USD price per **day** from which an auto-priced coin's price was computed."""

    on_demand: float | None = None
    spot: float | None = None


class ServerPrice(Model):
    """All prices of a server, per **day**, as the service sends them."""

    on_demand: PriceTier | None = None
    spot: PriceTier | None = None
    usd: PriceUSD | None = None
    original_usd: dict[str, OriginalUSDEntry] | None = None


class ServerRating(Model):
    """The ratings that renters gave a server."""

    avg: float | None = None
    """0-5; 0 with `cnt` 0 means unrated."""
    cnt: Whole | None = None


class MarketplaceServer(Model):
    """A server listing (004, `MarketplaceServer`)."""

    id: Id
    owner: Whole | None = None
    mrl: Whole | None = None
    """**Maximum** rental length in hours (service.md, 2; 004 says minimum and is wrong)."""
    price: ServerPrice | None = None
    """Per **day**. For hours see `price_usd`."""
    rented: bool | None = None
    specs: ServerSpecs | None = None
    reliability: float | None = None
    """0-1."""
    allowed_coins: list[str] | None = None
    """The coins that the host accepts. `price` may list another coin, which can't be paid."""
    rating: ServerRating | None = None
    gpu_array: list[Any] | None = None
    autoprice: Any | None = None
    """``"usd"`` if prices follow USD, else absent; a bool in older answers."""
    gigaspot: Any | None = None
    cuda_version: str | None = None
    mine: bool = False
    """Is it one of your own (`my_servers` of the same answer)? You can't rent it."""

    # USD per coin, for coins whose rate the record does not imply; see `use_rates`. Not pydantic's
    # `PrivateAttr`: that costs a call of Python for each of thousands of servers.
    _rates: ClassVar[Mapping[str, float] | None] = None

    def use_rates(self, usd_per_coin: Mapping[str, float]) -> None:
        """Set the USD value of each coin, for prices that the record itself can't convert."""
        vars(self)["_rates"] = usd_per_coin  # as `functools.cached_property` does

    @property
    def gpu_model(self) -> str | None:
        """The GPUs as the service describes them, e.g. ``"1x NVIDIA GeForce RTX 4090"``."""
        return describe_gpu(self.gpu_array, self.specs.gpu if self.specs else None)

    @property
    def gpu_names(self) -> list[str]:
        """The short names in `gpu_array`, flattened and stripped; empty on older records."""
        return flat_gpus(self.gpu_array)

    @property
    def gpu_count(self) -> int:
        """How many GPUs, from `gpu_array`, else from a leading ``8x`` in `specs.gpu`."""
        return count_gpus(self.gpu_array, self.specs.gpu if self.specs else None)

    @property
    def ram_gb(self) -> float | None:
        """RAM in GB."""
        return self.specs.ram if self.specs else None

    @property
    def vram_gb(self) -> float | None:
        """Memory of one GPU in GB."""
        return self.specs.gpuram if self.specs else None

    @property
    def available(self) -> bool:
        """True if not rented."""
        return not self.rented

    @property
    def location(self) -> str | None:
        """ISO country code."""
        return self.specs.net.cc if self.specs and self.specs.net else None

    @property
    def max_rental_hours(self) -> int | None:
        """The longest rental that the host allows, in hours."""
        return self.mrl

    @property
    def price_usd(self) -> float | None:
        """On-demand price in USD per **hour**, for the whole server; None if unknown."""
        return _per_hour(self.price_usd_per_day)

    @property
    def price_usd_per_hour(self) -> float | None:
        """On-demand price in USD per hour; the same as `price_usd`."""
        return self.price_usd

    @property
    def price_usd_per_day(self) -> float | None:
        """On-demand price in USD per day; None if unknown.

        The price in USD if the host accepts USD, else the lowest over the allowed coins, converted
        to USD: coins of one server can differ a lot (service.md, 3).
        """
        prices = self.usd_per_day("on-demand")
        if USD in prices:
            return prices[USD]
        known = self.price.usd.on_demand_usd if self.price and self.price.usd else None
        fallback = known if known and self.allows(USD) else None  # 004's source
        return min(prices.values(), default=fallback)

    @property
    def spot_price_usd(self) -> float | None:
        """Lowest spot bid in USD per **hour**; None, never 0, if unknown."""
        return _per_hour(self.spot_price_usd_per_day)

    @property
    def spot_price_usd_per_day(self) -> float | None:
        """Lowest spot bid in USD per day, over the allowed coins; None if unknown."""
        if self.price and self.price.usd and self.price.usd.spot:
            return self.price.usd.spot
        return min(self.usd_per_day("spot").values(), default=None)

    def price_per_day(self, coin: str, type: OrderType = "on-demand") -> float | None:  # noqa: A002 - 004's word
        """The price in `coin` per day; None if the host has none or does not allow the coin."""
        tier = self._tier(type)
        return tier.of(coin) if tier and self.allows(coin) else None

    def allows(self, coin: str) -> bool:
        """Can `coin` be paid here? `allowed_coins` decides, not the price list (service.md, 3)."""
        return self.allowed_coins is None or coin in self.allowed_coins

    def usd_per_day(self, type: OrderType = "on-demand") -> dict[str, float]:  # noqa: A002 - 004's word
        """USD per day for each coin that can be paid and whose USD value is known."""
        tier = self._tier(type)
        found: dict[str, float] = {}
        for coin in tier.coins() if tier else ():
            price, rate = self.price_per_day(coin, type), self.usd_per_coin(coin)
            if price is not None and rate:
                found[coin] = price * rate
        return found

    def usd_per_coin(self, coin: str) -> float | None:
        """USD for one `coin`: implied by this record, else set by `use_rates`, else None."""
        if coin == USD:
            return 1.0
        usd, tier = (self.price.usd, self.price.on_demand) if self.price else (None, None)
        converted = as_number(getattr(usd, _USD_FIELDS.get(coin, ""), None))
        price = tier.of(coin) if tier else None
        if converted and price:
            return converted / price
        return self._rates.get(coin) if self._rates else None

    def matches_gpu(self, wanted: str) -> bool:
        """Is `wanted` a part of the GPU's name? Case does not matter."""
        return matches_gpu(wanted, self.gpu_array, self.specs.gpu if self.specs else None)

    def row(self) -> dict[str, Any]:
        """The server for ``--json``, with derived values."""
        return {
            "id": self.id,
            "gpu": self.gpu_model,
            "gpu_count": self.gpu_count,
            "vram_gb": self.vram_gb,
            "ram_gb": self.ram_gb,
            "location": self.location,
            "reliability": self.reliability,
            "max_rental_hours": self.max_rental_hours,
            "price_usd_per_hour": self.price_usd_per_hour,
            "price_usd_per_day": self.price_usd_per_day,
            "spot_price_usd_per_hour": self.spot_price_usd,
            "spot_price_usd_per_day": self.spot_price_usd_per_day,
            "available": self.available,
            "allowed_coins": self.allowed_coins,
            "price_per_day": self.price and self.price.model_dump(by_alias=True, exclude_none=True),
            "specs": self.specs and self.specs.model_dump(exclude_none=True),
            "cuda_version": self.cuda_version,
        }

    def _tier(self, type: OrderType) -> PriceTier | None:  # noqa: A002 - 004's word
        if not self.price:
            return None
        return self.price.on_demand if type == "on-demand" else self.price.spot


def _per_hour(usd_per_day: float | None) -> float | None:
    return None if usd_per_day is None else per_hour(usd_per_day)


Server = MarketplaceServer
"""004's older name for `MarketplaceServer`."""
