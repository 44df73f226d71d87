"""What it would take to rent one server that was named: its price, end and wallet; or why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_ai._api.steps import Flow, clock, local
from clore_ai.exceptions import FieldError, NotFoundError
from clore_ai.models.records import Intent
from clore_ai.rental.market import listing
from clore_ai.rental.market.cost import cost
from clore_ai.rental.orders import reconcile
from clore_ai.rental.rent.ranking import Offer
from clore_ai.rental.spend import afford, lease

if TYPE_CHECKING:
    from clore_ai.models import MarketplaceServer, OrderType
    from clore_ai.rental.market.cost import Cost
    from clore_ai.rental.session import Session


def server(
    session: Session,
    server_id: int,
    type: OrderType,  # noqa: A002 - 004's word
) -> Flow[MarketplaceServer]:
    """The server, if it can be rented now.

    Raises:
        NotFoundError, FieldError: it can't; with the reason that the service would give.
    """
    found = yield from listing.one(session, server_id)
    yield from clock()  # a step later no frame of a traceback holds the service's raw records
    if found is None:
        raise NotFoundError(f"There is no server {server_id}. List servers with: clore search")
    if found.rented and type == "on-demand":
        raise _refused(
            f"Server {server_id} is already rented. Find another with: clore search",
            "server-already-rented",
        )
    return found


def offer(
    session: Session,
    server: MarketplaceServer,
    coin: str,
    type: OrderType,  # noqa: A002 - 004's word
    bid: float | None,
    limits: lease.Limits,
) -> Flow[Offer]:
    """The server as it would be rented in this coin; `bid`: for spot, coin per **day**.

    Raises:
        FieldError: it does not take this coin.
        InvalidInputError, BudgetError: its end contradicts itself, or its limit.
    """
    terms = cost(server, coin, type, bid)
    if terms is None:
        known = server.price.on_demand.coins() if server.price and server.price.on_demand else []
        takes = ", ".join(c for c in known if server.allows(c)) or "no coin with a price"
        raise _refused(
            f"Server {server.id} can't be paid in {coin!r}. It takes: {takes}.",
            "currency-not-allowed",
        )
    end = lease.settle(limits, terms, server.mrl)
    wallets = yield from reconcile.wallets(session)
    return Offer(server, terms, end, next((w.balance for w in wallets if w.name == coin), None))


def quote(
    session: Session,
    server_id: int,
    coin: str,
    type: OrderType,  # noqa: A002 - 004's word
    bid: float | None,
    limits: lease.Limits,
) -> Flow[Offer]:
    """`server` and its `offer`; errors as there."""
    found = yield from server(session, server_id, type)
    return (yield from offer(session, found, coin, type, bid, limits))


def check_budgets(
    session: Session,
    offer: Offer,
    type: OrderType,  # noqa: A002 - 004's word
    at_most: Cost,
) -> Flow[None]:
    """Does an order of this offer fit in the budgets, at this cost, by the orders as they are now?

    Raises:
        BudgetError: it does not.
    """
    if not (yield from local(session.ledger.budgets)):
        return
    yield from reconcile.orders(session, include_completed=True)
    server = offer.server
    wish = Intent(server.id, type, at_most.coin, "", lease_s=offer.end.lease_s)
    wish.price, wish.usd_per_coin = at_most.price.per_day, at_most.price.usd_per_coin
    wish.mrl_s = server.mrl and server.mrl * 3600.0
    yield from local(afford.check, session, wish, (yield from clock()).wall)


def _refused(message: str, reason: str) -> FieldError:
    return FieldError(message, 6, {"code": 6, "error": reason})
