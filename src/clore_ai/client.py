"""Every name that could be imported from here in 0.1.1; the clients are in `_async` and `_sync`."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Dict, List, Literal, Optional

import httpx

from clore_ai._async.client import AsyncCloreAI
from clore_ai._sync.client import CloreAI
from clore_ai.exceptions import ERROR_MAP, CloreAPIError
from clore_ai.models import (
    MarketplaceServer,
    MyServer,
    Order,
    Server,
    ServerConfig,
    SpotMarket,
    Wallet,
)
from clore_ai.rate_limiter import RateLimiter

__all__ = [
    "ERROR_MAP",
    "Any",
    "AsyncCloreAI",
    "CloreAI",
    "CloreAPIError",
    "Dict",
    "List",
    "Literal",
    "MarketplaceServer",
    "MyServer",
    "Optional",
    "Order",
    "RateLimiter",
    "Server",
    "ServerConfig",
    "SpotMarket",
    "Wallet",
    "asyncio",
    "httpx",
    "time",
]
