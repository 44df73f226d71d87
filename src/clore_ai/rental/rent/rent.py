"""Rents what a wish asks for, and counts it as rented only once it works.

The best offer is rented with its price locked. Within the boot deadline SSH must log in at any of
the order's hosts, and the machine must be what was promised (`verify`). If not, the order is
cancelled with the reason as its issue, the reason is kept in the ledger and held against the host,
and the next offer is tried. Some failures do not count as attempts, since nothing was rented: an
offer that another renter took, whose price rose, on which others bid more than the limit, or that
its host closed.

There are never two orders at once: while an order may exist that is not known, or may still be
billed, no other is created. Whatever stops the flow, even Ctrl-C, an order that is not handed over
yet is cancelled. If that fails too, the ledger has it, and the error or the last event names its
id.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from clore_ai._api.steps import clock, local
from clore_ai._ssh.order_keys import own_key
from clore_ai.exceptions import (
    BudgetError,
    ConfigError,
    FieldError,
    OrderUncertain,
    RentFailed,
)
from clore_ai.models.price import hourly
from clore_ai.models.records import Intent, RentEvent
from clore_ai.rental import preflight
from clore_ai.rental.market import cost
from clore_ai.rental.orders import cancel, create, recover, wait
from clore_ai.rental.orders.locks import BusyError
from clore_ai.rental.rent import ranking, spot_offers
from clore_ai.rental.rent import wish as wishes
from clore_ai.rental.rent.attempt import OnEvent, Rented, RentRun, verified
from clore_ai.rental.rent.failover import BUSY, OUTBID, Failover
from clore_ai.rental.rent.find import find
from clore_ai.rental.spend import afford

if TYPE_CHECKING:
    from clore_ai._api.steps import Flow
    from clore_ai.models import Order
    from clore_ai.rental.rent.ranking import Offer
    from clore_ai.rental.rent.wish import Wish
    from clore_ai.rental.session import Session

__all__ = ["LOST", "OnEvent", "RentEvent", "Rented", "find", "rent", "with_key"]

LOST = (
    "server-already-rented",
    "server-offline",
    "server-dont-exist",
    "too_low_price",
    "machine-is-on-gigaspot",
    "currency-not-allowed",
    "cant_rent_from_yourself",
    "you_already_have_spot_order",
)
"""Refusals that concern this one offer; nothing was rented."""
_ISSUE, _STOPPED = "It did not work: ", "stopped"
"""The service only gets the problem of a machine as the reason."""


def rent(
    session: Session,
    wish: Wish,
    on_event: OnEvent = lambda _event: None,
    choice: list[Offer] | None = None,
) -> Flow[Rented]:
    """An order that meets the wish and works.

    Args:
        session: the client's.
        wish: see `Wish`.
        on_event: called with each event at once, before anything else is done.
        choice: offers to try in this order, as `find` gave them; None: `find` them now.

    Raises:
        NoOffer: no server fits; nothing was rented.
        RentFailed: every attempt failed, or all offers were lost; no order of it runs.
        BudgetError, InvalidInputError, ConfigError, TransportError, AuthError: no order of it
            runs. A problem on this side (ssh, the key, the network) stops the rental at once.
        OrderUncertain: an order may exist; no other was rented after it.
        WaitTimeout: the end of a failed order was not confirmed; no other was rented after it.
    """
    wish = yield from local(with_key, session, wish)
    login = wish.verify != "none"
    yield from preflight.check(session, wish.ssh_key, wish.identity, login=login)
    run = RentRun(session, wish, on_event)
    earlier = yield from _earlier(run)
    if earlier is not None:
        if not earlier.active:
            return Rented(earlier, None, None)
        good = yield from _accept(run, earlier, None)
        if good is not None:
            return good
    if choice is None:
        choice = yield from find(session, wish)
    left = Failover(session, wish, choice)
    while run.attempt <= wish.attempts and not left.hopeless:
        offer = yield from left.next()
        if offer is None:
            break
        good = yield from _attempt(run, left, offer)
        if good is not None:
            return good
    raise RentFailed(_none_good(run, left), run.events)


def _attempt(run: RentRun, left: Failover, offer: Offer) -> Flow[Rented | None]:
    """The order of this offer once verified; None if the offer is lost, or the machine failed."""
    now = yield from _now(run, offer)
    if now is None:
        left.lost(offer, OUTBID)
        return None
    with ExitStack() as locks:
        order = yield from _create(run, left, now, create.Renting(locks, waits=False))
        if order is None:
            return None
        left.tried(offer)
        return (yield from _accept(run, order, now, new=True))


def with_key(session: Session, wish: Wish) -> Wish:
    """The wish with a login: the state folder's own key if it names none.

    Raises:
        InvalidInputError, ConfigError: the wish is invalid, or that key can't be made.
    """
    wish = wishes.checked(wish)
    if wish.ssh_key is not None:
        return wish
    text, identity = own_key(session.access.home)
    return wish.but(ssh_key=text, identity=identity)


def _earlier(run: RentRun) -> Flow[Order | None]:
    """The order that the wish's `client_ref` created before."""
    if run.wish.client_ref is None:
        return None
    with ExitStack() as locks:
        return (yield from create.earlier(run.session, run.wish.client_ref, locks))


def _now(run: RentRun, offer: Offer) -> Flow[Offer | None]:
    """The offer as it can be rented now; None if it can't be any more.

    Raises:
        BudgetError: the highest bid that the wish allows would exceed a budget.
    """
    session, wish = run.session, run.wish
    if wish.max_bid_usd is None:
        return offer
    now = yield from spot_offers.current(session, wish, offer)
    if now is None:
        run.emit("lost", offer.server.id, reason=OUTBID)
        return None
    most = ranking.at_most(now.cost, wish)
    dearest = Intent(now.server.id, wish.type, most.coin, wish.image, lease_s=now.end.lease_s)
    dearest.price, dearest.usd_per_coin = most.price.per_day, most.price.usd_per_coin
    yield from local(afford.check, session, dearest, (yield from clock()).wall)
    return now


def _create(
    run: RentRun, left: Failover, offer: Offer, renting: create.Renting
) -> Flow[Order | None]:
    """The order of an offer; None if the offer is lost, and nothing was rented."""
    session, wish, server_id = run.session, run.wish, offer.server.id
    wanted = wish.order(server_id, offer.cost.coin, offer.cost.price.per_day)
    most = wish.limits.max_cost_usd
    if most is not None:
        most -= run.spent_usd
        if most <= 0:
            raise BudgetError(
                f"The attempts so far have used up the {wish.limits.max_cost_usd:g} USD."
            )
    terms = create.RentalTerms(
        wish.client_ref,
        wish.purpose,
        offer.end.lease_s,
        most,
        offer.cost.price.usd_per_coin,
        enforced=wish.limits.enforced,
        unacknowledged=True,
        renting=renting,
    )
    bid, total = offer.cost.price.usd_per_hour, offer.cost.total.usd_per_hour
    price = f" ({hourly(total)})" if wish.max_bid_usd is None else f" at a bid of {hourly(bid)}"
    run.emit("trying", server_id, usd_per_hour=bid, price=price)
    try:
        return (yield from create.create(session, wanted, terms))
    except FieldError as exc:
        if exc.maybe_acted or exc.error not in LOST:
            raise
        reason = exc.error
    except BusyError:
        reason = BUSY
    except (GeneratorExit, OrderUncertain):
        raise
    except BaseException:
        yield from _stopped_in_create(run, renting.intent)
        raise
    left.lost(offer, reason)
    run.emit("lost", server_id, reason=reason)
    return None


def _stopped_in_create(run: RentRun, intent: Intent | None) -> Flow[None]:
    """The service may have acted on the request: look for its order, and cancel it."""
    session = run.session
    if intent is None or intent.state == "refused":
        return
    order_id = intent.order_id
    if order_id is None:
        order = yield from create.settle(session, intent)
        order_id = None if order is None else order.id
    if order_id is not None:
        order = yield from wait.find(session, order_id, include_completed=True)
        if order.active:
            yield from _cancel(run, order, _STOPPED)


def _accept(
    run: RentRun, order: Order, offer: Offer | None, *, new: bool = False
) -> Flow[Rented | None]:
    """The order once it is verified; None if it failed, and is cancelled and recorded."""
    session, wish = run.session, run.wish
    try:
        if new:
            run.emit("created", order.server_id or 0, order)
        yield from local(session.remember, order, wish.identity)
        if wish.verify == "none":
            good: Rented | str = Rented(order, None, offer)
        else:
            good = yield from verified(run, order, offer)
        if not isinstance(good, str):
            yield from local(recover.acknowledge, session, order.id)
            yield from clock()  # an interruption meanwhile is raised here
    except GeneratorExit:
        raise
    except BaseException:
        yield from _cancel(run, order, _STOPPED)
        raise
    if isinstance(good, str):
        run.emit("failed", order.server_id or 0, order, reason=good)
        yield from _cancel(run, order, good, (_ISSUE + good)[: cancel.MAX_ISSUE])
        run.attempt += 1
        return None
    run.emit("rented", order.server_id or 0, good.order, seen=good.seen)
    bad = frozenset(e.server_id for e in run.events if e.what == "failed")
    return replace(good, spent_usd=run.spent_usd, bad=bad)


def _cancel(run: RentRun, order: Order, reason: str, issue: str | None = None) -> Flow[None]:
    """Cancel an order and check that it is gone; the ledger gets `reason`, the service `issue`.

    Raises:
        CloreAPIError: it may still be billed; `WaitTimeout` carries the order.
    """
    session, server_id = run.session, order.server_id or 0
    run.emit("cancelling", server_id, order, reason=reason)
    intent = yield from local(_note_end, session, order.id, reason)
    each = cancel.Cancelling(order.id)
    try:
        yield from cancel.until_gone(session, [each], issue)
    finally:
        if not each.gone:
            run.emit("uncancelled", server_id, order)
    if each.error is not None and each.error.error != "order_not_active":
        raise each.error
    ended = each.order or order
    total = cost.spent(ended, (yield from clock()).wall)
    usd = (intent.usd_per_coin if intent is not None else None) or 0.0
    run.spent_usd += (total or 0.0) * usd
    yield from local(session.access.forget, order.id)
    run.emit("cancelled", server_id, ended)


def _note_end(session: Session, order_id: int, reason: str) -> Intent | None:
    intent = None
    try:
        intent = session.ledger.by_order(order_id)
        if intent is not None:
            # Free the ref for the next attempt: this order is not what it stands for. If the
            # order runs on all the same, the next command reports it.
            session.ledger.update(intent, reason=reason, client_ref=None, unacknowledged=True)
    except ConfigError as exc:
        session.note_trouble(str(exc))
    return intent


def _none_good(run: RentRun, left: Failover) -> str:
    failed = [e for e in run.events if e.what == "failed"]
    refused = f" Could not be rented: {left.summary()}." if left.reasons else ""
    if left.hopeless:
        refused += " The rental stopped there: three in a row were refused for the same reason."
    if not failed:
        return f"Nothing was rented.{refused} Try again, or ask for less."
    reasons = "; ".join(f"server {e.server_id}: {e.reason}" for e in failed)
    text = (
        f"No server worked, of {len(failed)} tried ({reasons}). No order was left running.{refused}"
    )
    if all((e.reason or "").startswith("no SSH") for e in failed):
        text += f" {wait.NO_SSHD} Or your network blocks outgoing SSH connections."
    return text
