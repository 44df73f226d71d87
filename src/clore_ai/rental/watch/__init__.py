"""Watches the market for offers, and orders for what happens to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_ai._values.lazy import submodule

if TYPE_CHECKING:
    from clore_ai.rental.watch import market, taking, view

__all__ = ["MARKET_EVERY_S", "ORDERS_EVERY_S", "market", "taking", "view"]

MARKET_EVERY_S = 60.0
"""From one look at the market to the next; 001 requires a minute or more."""
ORDERS_EVERY_S = 30.0
"""From one look at the orders to the next."""


def __getattr__(name: str) -> object:
    return submodule(__name__, name)
