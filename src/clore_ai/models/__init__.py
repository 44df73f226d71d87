"""The objects that calls return: pydantic models that keep unknown fields (004, Models).

Prices as the service sends them are per **day**, for the whole server, in the named coin. Derived
prices have their unit in the name; 004's `price_usd` is USD per **hour**.

`records` holds what this machine records of rentals, in dataclasses; it needs no pydantic. Models
are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_ai._values.lazy import attribute

if TYPE_CHECKING:
    from clore_ai.models.account import APIResponse, Wallet
    from clore_ai.models.host import BackgroundJob, CurrencyPricing, MyServer, ServerConfig
    from clore_ai.models.order import Order, Orders
    from clore_ai.models.server import (
        MarketplaceServer,
        NetworkSpecs,
        OrderType,
        OriginalUSDEntry,
        PriceTier,
        PriceUSD,
        Server,
        ServerPrice,
        ServerRating,
        ServerSpecs,
    )
    from clore_ai.models.spot import SpotMarket, SpotOffer, SpotServerInfo

__all__ = [
    "APIResponse",
    "BackgroundJob",
    "CurrencyPricing",
    "MarketplaceServer",
    "MyServer",
    "NetworkSpecs",
    "Order",
    "OrderType",
    "Orders",
    "OriginalUSDEntry",
    "PriceTier",
    "PriceUSD",
    "Server",
    "ServerConfig",
    "ServerPrice",
    "ServerRating",
    "ServerSpecs",
    "SpotMarket",
    "SpotOffer",
    "SpotServerInfo",
    "Wallet",
]

_MODULES = {
    "account": ("APIResponse", "Wallet"),
    "host": ("BackgroundJob", "CurrencyPricing", "MyServer", "ServerConfig"),
    "order": ("Order", "Orders"),
    "server": (
        "MarketplaceServer",
        "NetworkSpecs",
        "OrderType",
        "OriginalUSDEntry",
        "PriceTier",
        "PriceUSD",
        "Server",
        "ServerPrice",
        "ServerRating",
        "ServerSpecs",
    ),
    "spot": ("SpotMarket", "SpotOffer", "SpotServerInfo"),
}


def __getattr__(name: str) -> object:
    return attribute(__name__, _MODULES, name)


def __dir__() -> list[str]:
    return __all__
