"""Rent what was wished for, and count it as rented only when it works.

The best offer is rented, with its price locked; when it does not turn out good in time it is
cancelled, the host noted, and the next one taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Literal

from clore_ai._access import own_key
from clore_ai.exceptions import NotFoundError
from clore_ai.rental import create, look, pick, plan, wait
from clore_ai.rental import wish as wishes

if TYPE_CHECKING:
    from clore_ai._access import Target
    from clore_ai._flow import Flow
    from clore_ai.models import Order
    from clore_ai.rental.plan import Offer
    from clore_ai.rental.session import Session
    from clore_ai.rental.wish import Wish

What = Literal["trying", "lost", "created", "up", "rented", "failed", "cancelled", "uncancelled"]


@dataclass(frozen=True)
class Event:
    """One thing that happened on the way.

    `what`: ``trying`` an offer; ``lost`` it to another renter (nothing was rented); ``created``
    its order, which is billed from here on; ``up``: SSH logs in; ``rented``: it is good;
    ``failed``: it is not, for this `reason`; ``cancelled``; ``uncancelled``: it may still run.
    """

    what: What
    attempt: int
    server_id: int
    order_id: int | None = None
    reason: str | None = None


Tell = Callable[[Event], object]


@dataclass(frozen=True)
class Rented:
    """An order that is good, and how to get in."""

    order: Order
    target: Target | None
    """None where it was not waited for (`verify` is ``"none"``)."""
    offer: Offer | None
    """As it was chosen; None where an earlier order came back (`client_ref`)."""


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
        NotFoundError: no server fits, or none was good in `attempts`; nothing is left running.
        BudgetError, InvalidInputError, AuthError: nothing is left running.
        OrderUncertain: an order may exist; none other was rented after it.
    """
    wish = with_key(session, wish)
    for offer in choice if choice is not None else (yield from find(session, wish)):
        body = wish.body(offer.server.id, offer.cost.coin, offer.cost.price_per_day)
        terms = create.Terms(
            wish.client_ref,
            wish.purpose,
            offer.end.lease_s,
            wish.limits.max_cost_usd,
            offer.cost.usd_per_coin,
            untold=True,
        )
        tell(Event("trying", 1, offer.server.id))
        order = yield from create.create(session, body, terms)
        tell(Event("created", 1, offer.server.id, order.id))
        session.access.remember(order, wish.identity)
        if wish.verify == "none":
            return Rented(order, None, offer)
        order = yield from wait.until_ssh(session, order.id, wish.boot_deadline_s)
        tell(Event("rented", 1, offer.server.id, order.id))
        return Rented(order, session.access.target(order), offer)
    raise NotFoundError("No server fits.")


def with_key(session: Session, wish: Wish) -> Wish:
    """The wish with a way in: the state folder's own key where it names none.

    Raises:
        InvalidInputError, ConfigError: that key can't be made.
    """
    wish = wishes.checked(wish)
    if wish.ssh_key is not None:
        return wish
    text, identity = own_key(session.access.home)
    return wish.but(ssh_key=text, identity=identity)


def find(session: Session, wish: Wish) -> Flow[list[Offer]]:
    """The offers that meet the wish, the best first, with what the wallets hold.

    Raises:
        NotFoundError: there is none.
    """
    records = yield from pick.everything(session)
    fitting = [r for r in records if pick.fits(r, wish.filter)]
    servers = yield from pick.priced(session, records, fitting)
    balances = {w.name: w.balance or 0.0 for w in (yield from look.wallets(session))}
    found = plan.offers(servers, wish, balances)
    if not found:
        raise NotFoundError("No server fits.")
    return found
