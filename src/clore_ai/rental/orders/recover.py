"""Finds what a stopped command left behind among the orders, and reports it until acknowledged.

A command can be killed between any two steps. What it wrote before shows the next command where to
look. An order that its user may not know of is `Intent.unacknowledged` until it was shown, kept, or
has ended. Nearly every command looks and finds nothing, so the rest is imported when it is needed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from clore_ai._api.steps import local
from clore_ai.exceptions import CloreAPIError, ConfigError
from clore_ai.rental.orders.locks import by_renter, on_server

if TYPE_CHECKING:
    from clore_ai._api.steps import Flow
    from clore_ai._state.ledger import Ledger
    from clore_ai.models.records import Intent
    from clore_ai.rental.orders.cancel import Cancelling
    from clore_ai.rental.session import Session


@dataclass(frozen=True)
class Leftovers:
    """The orders and intents that earlier commands left."""

    found: list[Intent] = field(default_factory=list["Intent"])
    """Their orders run and are billed, and the user may not know."""
    unknown: list[Intent] = field(default_factory=list["Intent"])
    """Each may have created an order, which is not known yet."""


def recover(session: Session) -> Flow[Leftovers]:
    """Settle intents that no command is working on any more: at most one request, without retries.

    If the key is new to a ledger that has others, finding its account may take one more request.

    Never fails: problems of the ledger are in `session.trouble`, and what a network failure leaves
    open stays open until the next look.
    """
    ledger = session.ledger
    try:
        is_new, is_due = yield from local(_due, ledger)
        if is_due:
            from clore_ai.rental.orders.reconcile import orders, wallets

            once = replace(session, rules=replace(session.rules, max_retries=0))
            try:
                yield from orders(once, include_completed=True)
                if is_new and (yield from local(ledger.keys.is_new)):  # no order shows its account
                    yield from wallets(once)
            except ConfigError:
                raise
            except CloreAPIError:
                pass  # the command itself reports it, if it needs the service
        return (yield from local(_leftovers, ledger))
    except ConfigError as exc:
        session.note_trouble(str(exc))
        return Leftovers()


def answer(session: Session, order_id: int, *, cancels: bool) -> Flow[Cancelling | None]:
    """Keep an order that was found, or cancel it; the outcome of the cancel.

    It is not reported again, unless it was to be cancelled and may still run.
    """
    ended: Cancelling | None = None
    if cancels:
        from clore_ai.rental.orders import cancel

        ended = cancel.Cancelling(order_id)
        yield from cancel.end(session, [ended])
    if ended is None or ended.ended:
        yield from local(acknowledge, session, order_id)
    return ended


def acknowledge(session: Session, order_id: int) -> None:
    """The user knows of this order: do not report it again."""
    _say(session, order_id, unacknowledged=False)


def report(session: Session, order_id: int) -> None:
    """The user may not know that this order runs: the next command reports it."""
    _say(session, order_id, unacknowledged=True)


def _say(session: Session, order_id: int, *, unacknowledged: bool) -> None:
    try:
        intent = session.ledger.by_order(order_id)
        if intent is not None and intent.unacknowledged != unacknowledged:
            session.ledger.update(intent, unacknowledged=unacknowledged)
    except ConfigError as exc:
        session.note_trouble(str(exc))


def _due(ledger: Ledger) -> tuple[bool, bool]:
    """Is the key new to a ledger that has others? And is there anything to settle?"""
    if not ledger.begun():
        return False, False
    is_new = ledger.keys.is_new()
    return is_new, is_new or ledger.damaged() is not None or bool(_left(ledger))


def _leftovers(ledger: Ledger) -> Leftovers:
    if not ledger.begun():
        return Leftovers()
    found = [i for i in ledger.unacknowledged() if _free(ledger, i)]
    return Leftovers(found, [i for i in _left(ledger) if i.posted_at is not None])


def _left(ledger: Ledger) -> list[Intent]:
    """Intents that are not settled, and that no running command is working on."""
    return [i for i in ledger.unsettled() if _free(ledger, i)]


def _free(ledger: Ledger, intent: Intent) -> bool:
    """Is no command working on it: renting it, waiting for it, or verifying it?"""
    for name in (on_server(intent.server_id), by_renter(intent.server_id)):
        lock = ledger.lock(name)
        try:
            if not lock.try_acquire():
                return False
        finally:
            lock.release()
    return True
