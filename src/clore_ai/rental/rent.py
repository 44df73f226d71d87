"""Rent what was wished for, and count it as rented only when it works.

The best offer is rented, with its price locked. Within the boot deadline SSH must log in, at any of
the order's hosts, and what is there must be what was promised (`verify`); else it is cancelled with
the reason as its issue, the reason is kept in the ledger and held against the host, and the next
offer is taken. These do not count as attempts, since nothing was rented: an offer that another
renter took, whose price went up, on which others bid more than the limit, or that its host closed.

Never are two orders in the air: as long as one may exist that is not known, or may still be
billed, no other is made. Whatever stops it, also Ctrl-C, the order that is not handed over yet is
cancelled; where that fails too, the ledger has it, and the error or the last event says its id.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from clore_ai._access import own_key
from clore_ai._flow import Exec, clock
from clore_ai.exceptions import (
    BudgetError,
    ConfigError,
    FieldError,
    InvalidInputError,
    OrderUncertain,
    RentFailed,
)
from clore_ai.ledger import Intent
from clore_ai.rental import (
    afford,
    auction,
    cancel,
    check,
    cost,
    create,
    plan,
    recover,
    verify,
    wait,
)
from clore_ai.rental import wish as wishes
from clore_ai.rental.attempt import Course, Event, Rented, Tell, verified
from clore_ai.rental.choose import find

if TYPE_CHECKING:
    from pathlib import Path

    from clore_ai._flow import Done, Flow
    from clore_ai.models import Order
    from clore_ai.rental.plan import Offer
    from clore_ai.rental.session import Session
    from clore_ai.rental.wish import Wish

__all__ = ["LOST", "Event", "Rented", "Tell", "find", "rent", "with_key"]

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
"""Refusals that are about this one offer; nothing was rented."""
OUTBID = "more is bid there than the limit"
_ISSUE = "It did not work: "


def rent(
    session: Session,
    wish: Wish,
    tell: Tell = lambda _event: None,
    choice: list[Offer] | None = None,
) -> Flow[Rented]:
    """An order that meets the wish and works.

    Args:
        session: the client's.
        wish: see `Wish`.
        tell: is told each event at once, before anything else is done.
        choice: offers to be tried in this order, as `find` gave them; None: `find` them now.

    Raises:
        NoOffer: no server fits; nothing was rented.
        RentFailed: none was good in as many attempts, or all were lost; nothing of it runs.
        BudgetError, InvalidInputError, AuthError: nothing of it runs.
        OrderUncertain: an order may exist; none other was rented after it.
        WaitTimeout: an order that was no good was not seen to end; none other was rented after it.
    """
    wish = with_key(session, wish)
    if wish.verify != "none":
        yield from _have_ssh()
    course = Course(session, wish, tell)
    earlier = yield from _earlier(course)
    if earlier is not None:
        if not earlier.active:
            return Rented(earlier, None, None)
        good = yield from _see_to(course, earlier, None)
        if good is not None:
            return good
    for offer in choice if choice is not None else (yield from find(session, wish)):
        if course.attempt > wish.attempts:
            break
        now = yield from _now(course, offer)
        order = None if now is None else (yield from _create(course, now))
        if order is not None:
            good = yield from _see_to(course, order, now, new=True)
            if good is not None:
                return good
    raise RentFailed(_none_good(course), course.events)


def with_key(session: Session, wish: Wish) -> Wish:
    """The wish with a way in: the state folder's own key where it names none.

    Raises:
        InvalidInputError, ConfigError: it makes no sense, or that key can't be made.
    """
    wish = wishes.checked(wish)
    if wish.ssh_key is not None:
        return wish
    text, identity = own_key(session.access.home)
    return wish.but(ssh_key=text, identity=identity)


def _have_ssh() -> Flow[None]:
    done: Done = yield Exec(("ssh", "-V"), b"", 10.0)
    if done.code == verify.NOT_HERE:
        raise InvalidInputError(
            "There is no ssh here to verify a server with. Install openssh-client, or give "
            'verify="none".',
            2,
        )


def _earlier(course: Course) -> Flow[Order | None]:
    """The order that the wish's `client_ref` made before."""
    if course.wish.client_ref is None:
        return None
    with ExitStack() as locks:
        return (yield from create.earlier(course.session, course.wish.client_ref, locks))


def _now(course: Course, offer: Offer) -> Flow[Offer | None]:
    """The offer as it is to be had now; None where that is not so any more.

    Raises:
        BudgetError: it would go over a budget at the highest bid that the wish allows.
    """
    session, wish = course.session, course.wish
    if wish.max_bid_usd is None:
        return offer
    now = yield from auction.current(session, wish, offer)
    if now is None:
        course.say("lost", offer.server.id, reason=OUTBID)
        return None
    most = plan.at_most(now.cost, wish)
    dearest = Intent(now.server.id, wish.type, most.coin, wish.image, lease_s=now.end.lease_s)
    dearest.price, dearest.usd_per_coin = most.price_per_day, most.usd_per_coin
    afford.check(session, dearest, (yield from clock()).wall)
    return now


def _create(course: Course, offer: Offer) -> Flow[Order | None]:
    """The order of an offer; None where it is lost, and nothing was rented."""
    session, wish, server_id = course.session, course.wish, offer.server.id
    body = wish.body(server_id, offer.cost.coin, offer.cost.price_per_day)
    most = wish.limits.max_cost_usd
    if most is not None:
        most -= course.spent_usd
        if most <= 0:
            raise BudgetError(
                f"The attempts so far have cost the {wish.limits.max_cost_usd:g} USD."
            )
    terms = create.Terms(
        wish.client_ref,
        wish.purpose,
        offer.end.lease_s,
        most,
        offer.cost.usd_per_coin,
        untold=True,
    )
    course.say("trying", server_id, usd_per_hour=offer.cost.price_usd_per_hour)
    newest = max((i.id or 0 for i in session.ledger.intents()), default=0)
    try:
        order = yield from create.create(session, body, terms)
    except FieldError as exc:
        if exc.maybe_acted or exc.error not in LOST:
            raise
        course.say("lost", server_id, reason=exc.error)
        return None
    except (GeneratorExit, OrderUncertain):
        raise
    except BaseException:
        yield from _stopped_in_create(course, newest, server_id)
        raise
    return order


def _stopped_in_create(course: Course, newest: int, server_id: int) -> Flow[None]:
    """What was sent may have been acted on: look for its order, and cancel it."""
    session = course.session
    mine = [i for i in session.ledger.intents() if (i.id or 0) > newest]
    for intent in mine:
        if intent.server_id != server_id or intent.state == "refused":
            continue
        order_id = intent.order_id
        if order_id is None:
            order = yield from create.settle(session, intent)
            order_id = None if order is None else order.id
        if order_id is not None:
            order = yield from wait.find(session, order_id, include_completed=True)
            yield from _cancel(course, order, "stopped")


def _see_to(
    course: Course, order: Order, offer: Offer | None, *, new: bool = False
) -> Flow[Rented | None]:
    """The order once it is good; None when it was not, and is cancelled and noted."""
    session, wish = course.session, course.wish
    try:
        if new:
            course.say("created", order.server_id or 0, order)
        _remember(session, order, wish.identity)
        if wish.verify == "none":
            good: Rented | str = Rented(order, None, offer)
        else:
            good = yield from verified(course, order, offer)
    except GeneratorExit:
        raise
    except BaseException:
        yield from _cancel(course, order, "stopped")
        raise
    if isinstance(good, str):
        course.say("failed", order.server_id or 0, order, reason=good)
        yield from _cancel(course, order, good)
        course.attempt += 1
        return None
    course.say("rented", order.server_id or 0, good.order, seen=good.seen)
    recover.told(session, order.id)
    return replace(good, spent_usd=course.spent_usd)


def _remember(session: Session, order: Order, identity: Path | None) -> None:
    if session.access.known(order) and identity in (None, session.access.identity(order.id)):
        return
    try:
        session.access.remember(order, identity)
    except OSError as exc:
        session.note_trouble(f"Can't be noted in {session.access.home}: {exc.strerror}.")


def _cancel(course: Course, order: Order, reason: str) -> Flow[None]:
    """End an order and see that it is gone; its reason goes to the service and the ledger.

    Raises:
        CloreAPIError: it may still be billed; carries the order where it is `WaitTimeout`.
    """
    session, server_id = course.session, order.server_id or 0
    course.say("cancelling", server_id, order, reason=reason)
    intent = None
    try:
        intent = session.ledger.by_order(order.id)
        if intent is not None:
            # Its ref is free for the next attempt; this one is not what it shall stand for.
            session.ledger.update(intent, reason=reason, client_ref=None)
    except ConfigError as exc:
        session.note_trouble(str(exc))
    each = cancel.Cancelling(order.id)
    try:
        yield from cancel.until_gone(session, [each], (_ISSUE + reason)[: check.MAX_ISSUE])
    finally:
        if not each.gone:
            course.say("uncancelled", server_id, order)
    if each.error is not None and each.error.error != "order_not_active":
        raise each.error
    ended = each.order or order
    total = cost.spent(ended, (yield from clock()).wall)
    usd = (intent.usd_per_coin if intent is not None else None) or 0.0
    course.spent_usd += (total or 0.0) * usd
    session.access.forget(order.id)
    course.say("cancelled", server_id, ended)


def _none_good(course: Course) -> str:
    failed = [e for e in course.events if e.what == "failed"]
    lost = [e for e in course.events if e.what == "lost"]
    if not failed:
        return (
            f"All {len(lost)} offers that fit were gone before they could be rented; nothing was "
            "rented. Try again."
        )
    told = "; ".join(f"server {e.server_id}: {e.reason}" for e in failed)
    text = f"None of {len(failed)} tried was good ({told}). Nothing of it runs."
    if all((e.reason or "").startswith("no SSH") for e in failed):
        text += f" {wait.NO_SSHD} Or your network does not let you out to any port."
    return text
