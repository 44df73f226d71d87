"""Replaces an order that has been outbid for too long; never by two.

The new order has the purpose of the old one, and ends when that would have ended. Its `client_ref`
is derived from the old order, so that a command that is stopped in between and run again gets the
same order. The old order is cancelled only once the new one exists.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from clore_ai._api import endpoints
from clore_ai._api.order_request import OrderRequest
from clore_ai._api.steps import Flow, clock, local, request
from clore_ai.exceptions import BudgetError, FieldError, InvalidInputError
from clore_ai.models.price import Price, hourly
from clore_ai.rental.market import listing
from clore_ai.rental.market.cost import spent
from clore_ai.rental.orders import cancel, create
from clore_ai.rental.spot import auction

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from clore_ai.exceptions import CloreAPIError
    from clore_ai.models import MarketplaceServer, Order, OrderType, SpotMarket
    from clore_ai.models.records import Intent
    from clore_ai.rental.session import Session

AFTER_S = 900.0
_AUCTIONS = 5
"""The most servers whose auctions are read, one request each."""
_TRIES = 2
_LEAST_LEASE_S = 60.0
_RELIABILITY = 0.05

To = Literal["on-demand", "server"]


@dataclass(frozen=True)
class Fallback:
    """What to rent if an order has not run for `after_s` seconds.

    `to`: ``"on-demand"`` for the same server, or ``"server"`` for a spot order on another one with
    the same GPUs, at the lowest winning bid within the limit. The other fields are as in
    `create_order`, since the service does not return them for the old order.

    Raises:
        InvalidInputError: the service would refuse the order; checked in advance.
    """

    to: To
    after_s: float = AFTER_S
    max_usd_per_hour: float | None = None
    """The most that on demand may cost; None for the list price at that time."""
    image: str | None = None
    """None for the image of the old order."""
    ssh_password: str | None = field(default=None, repr=False)
    ssh_key: str | None = field(default=None, repr=False)
    ports: Mapping[str, str] | None = None
    env: Mapping[str, str] | None = field(default=None, repr=False)
    jupyter_token: str | None = field(default=None, repr=False)
    command: str | None = field(default=None, repr=False)
    identity: Path | None = None
    """The private key's file for `ssh_key`; by default ssh's own settings decide."""

    def __post_init__(self) -> None:
        if self.to not in ("on-demand", "server"):
            raise InvalidInputError(f'to must be "on-demand" or "server", not {self.to!r}.', 2)
        for name in ("after_s", "max_usd_per_hour"):
            value: float | None = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise InvalidInputError(f"{name} must be a number from 0 on, not {value!r}.", 2)
        self.order(1, "on-demand", "bitcoin", "image", 1.0)

    def order(
        self, server_id: int, kind: OrderType, coin: str, image: str, price: float
    ) -> OrderRequest:
        """The order of one server; the price is the bid, or the list price, coin per **day**."""
        return OrderRequest(
            server_id,
            self.image or image,
            kind,
            coin,
            self.ssh_password,
            self.ssh_key,
            self.ports,
            self.env,
            self.jupyter_token,
            self.command,
            spot_price=price if kind == "spot" else None,
            required_price=None if kind == "spot" else price,
        )


@dataclass(frozen=True)
class Moved:
    """The new order, or why there is none."""

    order: Order | None
    why: str


def rent(session: Session, order: Order, fallback: Fallback, limit: float) -> Flow[Moved]:
    """Rent a replacement for `order`, once. `limit`: the highest bid, coin per **day**.

    Raises:
        OrderUncertain: an order may exist, which the next call finds; `order` keeps running.
        CloreAPIError: the service can't be asked.
    """
    with ExitStack() as locks:
        new = yield from create.earlier(session, _ref(order), locks)
    if new is not None and not new.active:
        return Moved(None, f"Its fallback was rented before, as order {new.id}, which has ended.")
    if new is None:
        find = _same_server if fallback.to == "on-demand" else _other_server
        wishes, why = yield from find(session, order, fallback, limit)
        for wanted, rate in wishes[:_TRIES]:
            now = (yield from clock()).wall
            intent = yield from local(session.ledger.by_order, order.id)
            terms = _terms(intent, order, rate, now)
            if terms is None:
                return Moved(None, "Its lease has ended, or its cost limit is reached.")
            try:
                new = yield from create.create(session, wanted, terms)
                break
            except (FieldError, BudgetError) as exc:
                why = f"Not rented: {exc}"
        if new is None:
            return Moved(None, why)
    return Moved(new, f"order {new.id} on server {new.server_id}, {new.type}")


def leave(session: Session, order: Order) -> Flow[CloreAPIError | None]:
    """Cancel the old order once the new one exists; the error if the old one may keep running."""
    todo = [cancel.Cancelling(order.id)]
    yield from cancel.until_gone(session, todo)
    (old,) = todo
    return None if old.gone else old.error


def _ref(order: Order) -> str:
    """The ref of the replacement; a service that was reset reuses ids."""
    return f"instead of order {order.id} of {int(order.ct or 0)}"


def _terms(
    intent: Intent | None, order: Order, rate: float | None, now: float
) -> create.RentalTerms | None:
    """The remaining terms of the old order; None if no time or money is left."""
    ref = _ref(order)
    if intent is None:
        return create.RentalTerms(ref, usd_per_coin=rate, unacknowledged=True)
    lease_s = None if intent.ends_at is None else intent.ends_at - now
    cost = intent.max_cost_usd
    worth = rate or intent.usd_per_coin
    if cost is not None and worth is not None:
        cost -= (spent(order, now) or 0.0) * worth
    if (lease_s is not None and lease_s < _LEAST_LEASE_S) or (cost is not None and cost <= 0):
        return None
    return create.RentalTerms(
        ref, intent.purpose, lease_s, cost, rate, enforced=intent.enforced, unacknowledged=True
    )


_Wishes = list[tuple[OrderRequest, "float | None"]]


def _same_server(
    session: Session, order: Order, fallback: Fallback, _limit: float
) -> Flow[tuple[_Wishes, str]]:
    """The old order's server, on demand, in the coin of the old order."""
    coin, server = order.currency or "", (yield from listing.one(session, order.server_id))
    price = None if server is None else server.price_per_day(coin)
    if server is None or price is None:
        return [], f"Server {order.server_id} is not available on demand in {coin} now."
    rate, most = server.usd_per_coin(coin), fallback.max_usd_per_hour
    usd_h = Price(price, coin, rate).usd_per_hour
    if most is not None and (usd_h is None or usd_h > most):
        asks = "an unknown price" if usd_h is None else hourly(usd_h)
        return [], f"Server {server.id} asks {asks} on demand, more than {hourly(most)}."
    if server.rented:
        return [], f"Server {server.id} is rented on demand by another renter."
    wanted = fallback.order(server.id, "on-demand", coin, order.image or "", price)
    return [(wanted, rate)], ""


def _other_server(
    session: Session, order: Order, fallback: Fallback, limit: float
) -> Flow[tuple[_Wishes, str]]:
    """Servers like the old one, the lowest winning bid first."""
    coin = order.currency or ""
    every = (yield from listing.marketplace(session, listing.Filter(available_only=False))).servers
    old = next((s for s in every if s.id == order.server_id), None)
    names, count = (old.gpu_model, old.gpu_count) if old else (order.gpu_model, order.gpu_count)
    trusted = ((old.reliability if old else order.reliability) or 0.0) - _RELIABILITY

    def asks(server: MarketplaceServer) -> float:
        return server.price_per_day(coin, "spot") or math.inf

    like = [
        s
        for s in every
        if s.id != order.server_id
        and s.gpu_model == names
        and s.gpu_count == count
        and not s.rented
        and not (s.gigaspot or s.mine)
        and asks(s) <= limit
        and (s.reliability or 0.0) >= trusted
    ]
    found: list[tuple[float, MarketplaceServer]] = []
    for server in sorted(like, key=asks)[:_AUCTIONS]:
        market: SpotMarket = yield from request(
            endpoints.spot_marketplace(server.id), session.rules
        )
        bid = auction.entry(market, coin, limit)
        if bid is not None:
            found.append((bid, server))
    if not found:
        asked = f"({len(like)} asked)"
        return [], f"No other server with {names} is available within the limit {asked}."
    return [
        (
            fallback.order(server.id, "spot", coin, order.image or "", bid),
            server.usd_per_coin(coin),
        )
        for bid, server in sorted(found, key=lambda pair: (pair[0], pair[1].id))
    ], ""
