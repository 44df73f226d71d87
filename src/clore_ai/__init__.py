"""Python SDK for the Clore.ai GPU marketplace (004).

    from clore_ai import CloreAI

    with CloreAI() as client:
        for server in client.marketplace(gpu="RTX 4090", max_price_usd=0.50):
            print(server.id, server.gpu_model, server.price_usd)  # USD per hour

Prices as the service sends them are per **day**; 004's `price_usd` and `max_price_usd` are USD per
**hour**. Names are imported when they are first used, so the command line starts fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from clore_ai._version import __version__

if TYPE_CHECKING:
    from clore_ai._async.client import AsyncCloreAI
    from clore_ai._async.rental import AsyncRental
    from clore_ai._sync.client import CloreAI
    from clore_ai._sync.rental import Rental
    from clore_ai.exceptions import (
        AuthError,
        BudgetError,
        CloreAPIError,
        ConfigError,
        DBError,
        FieldError,
        InvalidEndpointError,
        InvalidInputError,
        LimitReached,
        NoOffer,
        NotFoundError,
        OrderEnded,
        OrderUncertain,
        OrderUnlisted,
        RateLimitError,
        RentFailed,
        ResponseError,
        TransportError,
        WaitTimeout,
    )
    from clore_ai.jobs.reap.reaper import ReapEvent
    from clore_ai.models import (
        APIResponse,
        MarketplaceServer,
        MyServer,
        Order,
        Server,
        ServerConfig,
        SpotMarket,
        SpotOffer,
        Wallet,
    )
    from clore_ai.rate_limiter import RateLimiter
    from clore_ai.rental.spot.fallback import Fallback
    from clore_ai.rental.spot.report import SpotReport
    from clore_ai.rental.spot.run import SpotEvent
    from clore_ai.rental.watch.view import OrdersView

__all__ = [
    "APIResponse",
    "AsyncCloreAI",
    "AsyncRental",
    "AuthError",
    "BudgetError",
    "CloreAI",
    "CloreAPIError",
    "ConfigError",
    "DBError",
    "Fallback",
    "FieldError",
    "InvalidEndpointError",
    "InvalidInputError",
    "LimitReached",
    "MarketplaceServer",
    "MyServer",
    "NoOffer",
    "NotFoundError",
    "Order",
    "OrderEnded",
    "OrderUncertain",
    "OrderUnlisted",
    "OrdersView",
    "RateLimitError",
    "RateLimiter",
    "ReapEvent",
    "RentFailed",
    "Rental",
    "ResponseError",
    "Server",
    "ServerConfig",
    "SpotEvent",
    "SpotMarket",
    "SpotOffer",
    "SpotReport",
    "TransportError",
    "WaitTimeout",
    "Wallet",
    "__version__",
]

_MODULES = {
    "AsyncCloreAI": "_async.client",
    "AsyncRental": "_async.rental",
    "CloreAI": "_sync.client",
    "Fallback": "rental.spot.fallback",
    "OrdersView": "rental.watch.view",
    "RateLimiter": "rate_limiter",
    "ReapEvent": "jobs.reap.reaper",
    "Rental": "_sync.rental",
    "SpotEvent": "rental.spot.run",
    "SpotReport": "rental.spot.report",
}
_MODELS = {
    "APIResponse",
    "MarketplaceServer",
    "MyServer",
    "Order",
    "Server",
    "ServerConfig",
    "SpotMarket",
    "SpotOffer",
    "Wallet",
}


_ROOMS = ("client", "exceptions", "models", "rate_limiter")


def __getattr__(name: str) -> object:
    if name in _ROOMS:  # `clore_ai.exceptions.AuthError` after `import clore_ai` alone
        return import_module(f"{__name__}.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _MODULES.get(name) or ("models" if name in _MODELS else "exceptions")
    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, *_ROOMS]
