"""Servers that the user hosts (``GET my_servers``, ``GET server_config``; 004, Models)."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from clore_ai._values.kinds import as_dict
from clore_ai.models._base import LAST_MOMENT, Id, Model, Whole, count_gpus, describe_gpu
from clore_ai.models.price import USD
from clore_ai.models.server import ServerSpecs

_FIRST_MOMENT = 1e9
"""Unix seconds, in 2001; a smaller number is not a date."""


class CurrencyPricing(Model):
    """Prices of one coin, in USD per **day**."""

    on_demand: float | None = None
    spot: float | None = None


class Hosted(Model):
    """The prices and the rental of a hosted server, which are in both of its records."""

    pricing: dict[str, float] | None = None
    """On-demand price per **day**, by coin."""
    usd_pricing: dict[str, CurrencyPricing] | None = None
    """USD per **day**, by coin. If the service sends one price for all coins, each coin has it."""
    gpu_array: list[Any] | None = None
    specs: ServerSpecs | None = None
    remaining_time: float | None = None
    """When the rental ends, in unix **milliseconds**; see `rental_end`."""

    @field_validator("usd_pricing", mode="before")
    @classmethod
    def _by_coin(cls, value: object, info: ValidationInfo) -> object:
        prices = as_dict(value)
        if not prices or any(as_dict(price) is not None for price in prices.values()):
            return value
        return dict.fromkeys(info.data.get("pricing") or [USD], prices)

    @property
    def gpu_model(self) -> str | None:
        """The GPUs as the service describes them."""
        return describe_gpu(self.gpu_array, self.specs.gpu if self.specs else None)

    @property
    def on_demand_price(self) -> float | None:
        """The first on-demand price in USD per **day** that is known."""
        return self._first_usd("on_demand")

    @property
    def spot_price(self) -> float | None:
        """The first spot price in USD per **day** that is known."""
        return self._first_usd("spot")

    @property
    def rental_end(self) -> datetime | None:
        """When the rental ends, in UTC; None if nobody rents the server or the end is unknown."""
        sent = self.remaining_time or 0
        unix_s = sent if sent < LAST_MOMENT else sent / 1000
        if not _FIRST_MOMENT < unix_s < LAST_MOMENT:
            return None
        return datetime.fromtimestamp(unix_s, timezone.utc)

    def row(self) -> dict[str, Any]:
        """The server for ``--json``, with derived values."""
        end = self.rental_end
        shown = None if end is None else end.isoformat().replace("+00:00", "Z")
        return self.model_dump() | {"rental_end": shown}

    def _first_usd(self, which: str) -> float | None:
        prices = (getattr(p, which) for p in (self.usd_pricing or {}).values())
        return next((p for p in prices if p is not None), None)


class MyServer(Hosted):
    """A server the user hosts. One that never connected has `init_token`, no `id`, no `specs`."""

    id: Id | None = None
    """None until the server has connected (service.md, 3; in 004 it is always there)."""
    name: str | None = None
    connected: bool | None = None
    visibility: str | None = None
    """``"public"`` or ``"hidden"`` (004 says private)."""
    online: bool | None = None
    rented: bool | None = None
    """Absent unless true."""
    public_name: str | None = None
    working_properly: bool | None = None
    min_spot_pricing: dict[str, float] | None = None
    """Lowest spot bid per **day**, by coin."""
    autoprice: Any | None = None
    """``"usd"``, alone or by coin; None if prices do not follow USD."""
    max_fair_price_usd: float | None = None
    allowed_currencies: list[str] | None = None
    mass_price_changeable: bool | None = None
    is_vpn_enabled: bool | None = None
    oc_gpus: str | None = None
    """JSON in a string."""
    lock_balance: float | None = None
    lock_balance_initial_update: str | None = None
    monitoring: Whole | None = None
    init_token: str | None = Field(None, repr=False)
    """The token with which an unconnected server's agent signs in; None once connected."""

    @field_validator("id", mode="before")
    @classmethod
    def _none_yet(cls, value: object) -> object:
        return value or None  # 0, where the service should send an id

    @property
    def gpu_count(self) -> int:
        """How many GPUs; 0 while unknown."""
        return count_gpus(self.gpu_array, self.specs.gpu if self.specs else None)

    @property
    def ram_gb(self) -> float | None:
        """RAM in GB."""
        return self.specs.ram if self.specs else None

    @property
    def status(self) -> str:
        """``"Online"``, ``"Offline"``, ``"Disconnected"`` or ``"Not Working"``."""
        if not self.connected:
            return "Disconnected"
        if not self.online:
            return "Offline"
        return "Not Working" if self.working_properly is False else "Online"

    def row(self) -> dict[str, Any]:
        """The server for ``--json``, with derived values."""
        return super().row() | {"status": self.status}


class BackgroundJob(Model):
    """The job that a server runs for its host while nobody rents it."""

    times_updated: Whole | None = None
    image: str | None = None
    command: str | None = Field(None, repr=False)
    env: dict[str, str] | None = Field(None, repr=False)


class ServerConfig(Hosted):
    """The settings of one hosted server."""

    id: Id | None = None
    name: str | None = None
    connected: bool | None = None
    visibility: str | None = None
    spot_pricing: dict[str, float] | None = None
    """Lowest spot bid per **day**, by coin."""
    mrl: Whole | None = None
    """**Maximum** rental length in hours (service.md, 2)."""
    online: bool | None = None
    rental_status: Whole | None = None
    allowed_coins: list[str] | None = None
    background_job: BackgroundJob | None = None
    initialized: bool | None = None
    is_vpn_enabled: bool | None = None
    is_partner_enabled: bool | None = None
    monitoring: Whole | None = None
    mfp_usd: float | None = None
    """The highest price that counts as fair, USD."""
    kernel: str | None = None
    allow_oc: bool | None = None
    oc_gpus: str | None = None
    """JSON in a string."""
    xorg_valid: bool | None = None
    onboard_type: Whole | None = None
    clock_lock_ranges: dict[str, Any] | None = None

    @property
    def availability(self) -> bool | None:
        """Can the server be rented? True when public (004's first example reads it)."""
        return None if self.visibility is None else self.visibility == "public"
