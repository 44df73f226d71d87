"""Rents what a watch waits for, once: `clore watch --rent` and `client.rent_when`.

If other renters were faster, or no machine was good, nothing runs and the wait goes on. Whatever
may have left an order, or would fail again, is raised.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Callable

from clore_ai._api.steps import Flow, local
from clore_ai.exceptions import CloreAPIError
from clore_ai.rental.orders import create
from clore_ai.rental.rent import rent as flows
from clore_ai.rental.watch import market

if TYPE_CHECKING:
    from clore_ai.models import Order
    from clore_ai.rental.rent.attempt import OnEvent, Rented
    from clore_ai.rental.rent.ranking import Offer
    from clore_ai.rental.rent.wish import Wish
    from clore_ai.rental.session import Session
    from clore_ai.rental.watch.market import Watch

NOT_PAID = "What fits can't be paid for (clore wallets), or its host is blocked."


def take(
    session: Session, watch: Watch, wish: Wish, listener: Callable[[list[Offer]], OnEvent]
) -> Flow[Rented | str]:
    """Rent what fits, as last seen; else why nothing was rented, and may be later.

    Args:
        session: the client's.
        watch: what was seen, for `wish`.
        wish: what is rented.
        listener: called with the offers before they are tried; returns who hears of each event.

    Raises:
        CloreAPIError: an order may exist, or another try would fail likewise.
    """
    newest = yield from local(session.ledger.newest)
    try:
        offers = yield from market.choose(session, watch)
        if not offers:
            return NOT_PAID
        return (yield from flows.rent(session, wish, listener(offers), offers))
    except CloreAPIError as exc:
        if not (yield from local(market.came_to_nothing, session, exc, newest)):
            raise
        return str(exc)


def earlier(session: Session, client_ref: str | None) -> Flow[Order | None]:
    """The order that was rented under this name before; None if none was."""
    if client_ref is None:
        return None
    with ExitStack() as locks:
        return (yield from create.earlier(session, client_ref, locks))


def patiently(
    every_s: float, for_s: float | None
) -> Callable[[Session, Wish, OnEvent], Flow[Rented]]:
    """`rent.rent`, but what is not there yet is waited for; at the end of `for_s` as `rent.rent`.

    Raises:
        ValueError: a time is not above 0.
    """
    market.MarketWatch.of([], every_s, for_s)

    def rent(session: Session, wish: Wish, on_event: OnEvent) -> Flow[Rented]:
        watch = market.Watch(wish.filter, wish=wish)
        state = market.MarketWatch.of([watch], every_s, for_s)
        if (yield from earlier(session, wish.client_ref)) is None:
            while (yield from market.step(session, state)) is not None:
                if watch.fits:
                    done = yield from take(session, watch, wish, lambda _offers: on_event)
                    if not isinstance(done, str):
                        return done
        return (yield from flows.rent(session, wish, on_event))

    return rent
