"""What coins are worth in USD: implied by the marketplace, else from the service."""

from __future__ import annotations

from collections import defaultdict
from math import inf
from typing import TYPE_CHECKING, Any

from clore_ai._api import endpoints
from clore_ai._api.steps import Flow, Shared, clock, request
from clore_ai._values.kinds import as_dict, as_number
from clore_ai.exceptions import CloreAPIError
from clore_ai.models.price import USD, Price, Rates

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clore_ai.models import Order, SpotMarket
    from clore_ai.rental.session import Session

KEPT_S = 300.0
CONVERTED = (("bitcoin", "on_demand_btc"), ("CLORE-Blockchain", "on_demand_clore"))
"""The coins whose prices the service converts, and the names of the converted prices."""


def implied(records: list[dict[str, Any]]) -> dict[str, float]:
    """USD per coin, as the raw records imply it: the median over all of them."""
    from statistics import median  # slow to import

    found: dict[str, list[float]] = defaultdict(list)
    for record in records:
        price = as_dict(record.get("price")) or {}
        usd, on_demand = as_dict(price.get("usd")), as_dict(price.get("on_demand"))
        if not usd or not on_demand:
            continue
        for coin, name in CONVERTED:
            coins, dollars = on_demand.get(coin), usd.get(name)
            if type(coins) is not float or type(dollars) is not float:  # rarely: calls are slow
                coins, dollars = as_number(coins), as_number(dollars)
            if coins and dollars and 0 < (rate := dollars / coins) < inf:
                found[coin].append(rate)
    return {coin: median(rates) for coin, rates in found.items()}


def ask(session: Session, server_id: object) -> Flow[Rates]:
    """The session's rates; read from the service once in five minutes, if it answers."""
    rates, now = session.rates, (yield from clock()).mono
    fresh = rates.asked_at is not None and now - rates.asked_at < KEPT_S
    if fresh or not session.rules.has_key or not isinstance(server_id, int):
        return rates
    call = endpoints.spot_marketplace(server_id)
    try:
        market: SpotMarket = yield Shared("rates", lambda: request(call, session.rules))
    except CloreAPIError:
        return rates  # a price may stay unknown; every reader must expect that
    rates.note(market.currency_rates_in_usd)
    rates.asked_at = now
    return rates


def prices(session: Session, orders: Iterable[Order]) -> Flow[dict[int, Price | None]]:
    """Prices of orders without fees, by order id; None if unknown.

    Rates are read only if a running order is paid in a coin of unknown value.
    """
    listed = list(orders)
    unknown = [o for o in listed if o.active and o.price and o.price_usd_per_hour is None]
    if unknown:
        yield from ask(session, unknown[0].server_id)
    return {order.id: price_of(order, session.rates) for order in listed}


def price_of(order: Order, rates: Rates | None = None) -> Price | None:
    """The price of an order without fees: in USD as the service gives it, else by `rates`."""
    usd, paid = order.price_usd_per_day, order.price
    if not paid:
        return None if usd is None else Price(usd, USD, 1.0)
    noted = None if usd is None else usd / paid
    return Price(paid, order.currency or "", (rates or Rates()).usd(order.currency, noted))
