"""Rents one server that was named: the plan with its price, end and wallet, then the order."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Callable

from clore_ai._api.steps import Flow, clock, local
from clore_ai.exceptions import FieldError, NotFoundError
from clore_ai.models.records import Intent, RentEvent
from clore_ai.rental import preflight
from clore_ai.rental.market import listing
from clore_ai.rental.market.cost import cost
from clore_ai.rental.orders import create, reconcile, recover
from clore_ai.rental.rent.ranking import Offer
from clore_ai.rental.spend import afford, lease

if TYPE_CHECKING:
    from pathlib import Path

    from clore_ai._api.order_request import OrderRequest
    from clore_ai.models import MarketplaceServer, Order, OrderType
    from clore_ai.rental.market.cost import Cost
    from clore_ai.rental.rent.attempt import OnEvent
    from clore_ai.rental.session import Session


def quote(
    session: Session,
    server_id: int,
    coin: str,
    type: OrderType,  # noqa: A002 - 004's word
    bid: float | Callable[[MarketplaceServer], float] | None,
    limits: lease.Limits,
) -> Flow[Offer]:
    """The plan: the server as it would be rented now, in this coin.

    `bid`: for spot, in the coin per **day**; or a function that converts it for the server.

    Raises:
        NotFoundError, FieldError: it can't be rented, for the reason that the service would give.
        InvalidInputError, BudgetError: its end contradicts itself, or its limit.
    """
    server = yield from _free(session, server_id, type)
    terms = cost(server, coin, type, bid(server) if callable(bid) else bid)
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


def _free(session: Session, server_id: int, type_: OrderType) -> Flow[MarketplaceServer]:
    found = yield from listing.one(session, server_id)
    yield from clock()  # a step later no frame of a traceback holds the service's raw records
    if found is None:
        raise NotFoundError(f"There is no server {server_id}. List servers with: clore search")
    if found.rented and type_ == "on-demand":
        raise _refused(
            f"Server {server_id} is already rented. Find another with: clore search",
            "server-already-rented",
        )
    return found


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


def order(
    session: Session,
    wanted: OrderRequest,
    plan: Offer,
    terms: create.RentalTerms,
    identity: Path | None,
    on_event: OnEvent,
    *,
    login: bool,
) -> Flow[Order]:
    """Rent the server at the price of its plan, and record the key that opens the order.

    Args:
        session: the client's.
        wanted: the order, but for its price.
        plan: what the user has agreed to.
        terms: what the plan does not say: `client_ref`, `purpose`, the cost limit, `enforced`.
        identity: the private key's file, if it is known.
        on_event: called with ``"trying"``, then ``"created"``: now the user knows the order.
        login: will SSH log in from here? Then ssh, the key and the network are checked first.

    Raises:
        CloreAPIError: as `preflight.check` and `create.create`.
    """
    yield from preflight.check(session, wanted.ssh_key, identity, login=login)
    server, price = plan.server, plan.cost.price
    with ExitStack() as locks:
        agreed = replace(
            terms,
            lease_s=plan.end.lease_s,
            usd_per_coin=price.usd_per_coin,
            mrl_s=server.mrl and server.mrl * 3600.0,
            unacknowledged=True,
            renting=create.Renting(locks),
        )
        usd = price.usd_per_hour
        on_event(RentEvent("trying", 1, server.id, usd_per_hour=usd, message="Renting…"))
        made = yield from create.create(session, wanted.at(price.per_day), agreed)
        message = f"Rented: order {made.id} on server {server.id}."
        on_event(RentEvent("created", 1, server.id, made.id, message=message))
        yield from local(recover.acknowledge, session, made.id)
    yield from local(session.remember, made, identity)
    return made


def _refused(message: str, reason: str) -> FieldError:
    return FieldError(message, 6, {"code": 6, "error": reason})
