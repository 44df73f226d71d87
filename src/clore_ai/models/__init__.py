"""What calls return: pydantic models that keep unknown fields (004, Models).

Prices as the service sends them are per **day**, for the whole server, in the named coin. What is
derived from them is named with its unit; 004's `price_usd` is USD per **hour**.
"""

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
