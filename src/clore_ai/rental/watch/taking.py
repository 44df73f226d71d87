"""Watches the market, and rents what a watch waits for, once.

`step` is behind `clore watch`, `client.watch` and `client.rent_when`. If other renters were faster,
or no machine was good, nothing runs and the wait goes on. Whatever may have left an order, or would
fail again, is raised.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Callable, Union

from clore_ai._api.steps import Flow, clock, local
from clore_ai.exceptions import (
    CloreAPIError,
    DBError,
    RateLimitError,
    RentFailed,
    ResponseError,
    TransportError,
)
from clore_ai.rental.orders import create
from clore_ai.rental.rent import find
from clore_ai.rental.rent import rent as flows
from clore_ai.rental.rent.attempt import OnEvent, Rented
from clore_ai.rental.rent.ranking import Offer
from clore_ai.rental.watch import market
from clore_ai.rental.watch.market import MarketEvent, MarketWatch, Missed, Taken, Watch

if TYPE_CHECKING:
    from clore_ai.models import Order
    from clore_ai.rental.rent.wish import Wish
    from clore_ai.rental.session import Session

_NOT_PAID = "What fits can't be paid for (clore wallets), or its host is blocked."
_PASSES = (DBError, RateLimitError, ResponseError, TransportError)

Tries = Callable[[list[Offer]], Union[OnEvent, str]]
"""Called with the offers before they are tried: the callback of the rental, or why not to try."""


def _quiet(_offers: list[Offer]) -> OnEvent:
    return lambda _event: None


def step(
    session: Session, state: MarketWatch, tries: Tries = _quiet
) -> Flow[list[MarketEvent] | None]:
    """The events of one rental if the last look found something to rent, else of the next look.

    None when the time is over, or no watch waits any more.

    Args:
        session: the client's.
        state: the first of its `pending` watches rents in this step, if there is one.
        tries: see `Tries`.

    Raises:
        AuthError, ConfigError: as `market.look`.
        CloreAPIError: an order may exist, or another try would fail likewise.
    """
    if state.pending:
        return (yield from _rent(session, state.pending.pop(0), tries))
    events = None if state.over else (yield from market.look(session, state))
    if events is not None:
        state.pending = [
            each for each in state.watches if each.wish and each.fits and not each.found
        ]
    return events


def _rent(session: Session, watch: Watch, tries: Tries) -> Flow[list[MarketEvent]]:
    done = yield from _take(session, watch, tries)
    if not isinstance(done, str):
        watch.found = True  # no step may follow: an interrupt there would hide the order
        return [Taken(watch.name, done)]
    if done == watch.missed:
        return []
    watch.missed = done
    return [Missed(watch.name, done, (yield from clock()).wall)]


def _take(session: Session, watch: Watch, tries: Tries) -> Flow[Rented | str]:
    """Rent what fits, as last seen; else why nothing was rented, and may be later."""
    wish, fits = watch.wish, watch.fits
    if wish is None:
        raise ValueError(f"{watch.name or 'the watch'} has nothing to rent")
    newest = yield from local(session.ledger.newest)
    try:
        # If nothing fits, the watch is pending for an earlier order that has the wish's name.
        offers = (yield from find.among(session, fits, wish)) if fits else []
        listener = _NOT_PAID if fits and not offers else tries(offers)
        if isinstance(listener, str):
            return listener
        return (yield from flows.rent(session, wish, listener, offers))
    except CloreAPIError as exc:
        if not fits or not (yield from local(came_to_nothing, session, exc, newest)):
            raise
        return str(exc)


def came_to_nothing(session: Session, exc: CloreAPIError, newest: int) -> bool:
    """May another attempt follow a failed one: nothing runs, and the failure may be temporary?

    `newest`: the ledger's newest intent before the attempt.
    """
    return isinstance(exc, RentFailed) or (
        isinstance(exc, _PASSES) and not session.ledger.after(newest)
    )


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
    MarketWatch.of([], every_s, for_s)

    def rent(session: Session, wish: Wish, on_event: OnEvent) -> Flow[Rented]:
        state = MarketWatch.of([Watch(wish.filter, wish=wish)], every_s, for_s)
        if (yield from earlier(session, wish.client_ref)) is None:
            while (
                events := (yield from step(session, state, lambda _offers: on_event))
            ) is not None:
                for event in events:
                    if isinstance(event, Taken):
                        return event.rented
        return (yield from flows.rent(session, wish, on_event))

    return rent
