"""Your orders with their prices, and why ended ones ended: `clore orders`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clore_ai._api.steps import Flow, clock, local
from clore_ai.rental.market import rates
from clore_ai.rental.orders import reconcile

if TYPE_CHECKING:
    from clore_ai.models import Order
    from clore_ai.models.price import Price
    from clore_ai.rental.session import Session


@dataclass(frozen=True)
class OrdersReport:
    """Orders as the service lists them."""

    orders: list[Order]
    prices: dict[int, Price | None]
    """By order id, without fees; None if unknown."""
    reasons: dict[int, str]
    """By order id, why it ended."""
    at: float
    """Unix seconds on the service's clock."""


def report(session: Session, *, include_completed: bool) -> Flow[OrdersReport]:
    """The orders, with ended ones if `include_completed`.

    Raises:
        CloreAPIError: the orders can't be read.
    """
    rows = yield from reconcile.orders(session, include_completed=include_completed)
    prices = yield from rates.prices(session, rows)
    reasons = yield from local(reconcile.reasons, session, rows)
    return OrdersReport(rows, prices, reasons, (yield from clock()).wall)


def row(order: Order, price: Price | None = None) -> dict[str, Any]:
    """An order for ``--json``, with derived values; `price`: if it is known otherwise."""
    price = price or rates.price_of(order)
    return order.model_dump() | {
        "active": order.active,
        "ssh_host": order.ssh_host,
        "ssh_port": order.ssh_port,
        "ssh_command": order.ssh_command,
        "http_url": order.http_url,
        "price_usd_per_hour": price and price.usd_per_hour,
        "price_usd_per_day": price and price.usd_per_day,
    }
