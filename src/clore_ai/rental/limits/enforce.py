"""Keeps the limits of running orders: one rule for every command that watches orders.

A caller asks its `Keeper` at intervals, between other work. The keeper reads the ledger anew, since
another command may have changed a lease, and counts by the service's clock. It asks the service
every 20 s at most, and in time for the nearest limit; if the service can't be reached, time counts
on.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Callable

from clore_ai._api.steps import Flow, clock, local
from clore_ai.exceptions import CloreAPIError, ConfigError, LimitReached
from clore_ai.rental.limits.expiry import Limit, leased, limits
from clore_ai.rental.orders import ending
from clore_ai.rental.orders.reconcile import orders
from clore_ai.rental.spend import lease

if TYPE_CHECKING:
    from clore_ai._api.steps import Instant
    from clore_ai.models.records import Intent
    from clore_ai.rental.session import Session

SLICE_S = 1.0
"""How often a caller asks."""
EVERY_S = 20.0
GRACE_S = 180.0
"""How long an order past its limit is left to the process that watches its job."""
_FIRST_S, _LEAST_S = 1.0, 0.5


@dataclass
class Keeper:
    """Keeps the limits of one order, or of all orders that `mine` accepts."""

    order_id: int | None = None
    mine: Callable[[Intent], bool] = lambda intent: intent.enforced != "reap"
    every_s: float = EVERY_S
    asks: bool = True
    """Does it ask the service? Not if its caller does so anyway."""
    ending_s: float = 0.0
    """How long it takes to end an order before the cancel is sent: the last fetch."""
    failure: CloreAPIError | None = None
    """Why the service could not be asked the last time."""
    failed_at: float | None = None
    """Since when the service can't be asked, by the monotonic clock."""
    _warned: set[int | None] = field(default_factory=set["int | None"])
    _due: float = 0.0
    _pause_s: float = _FIRST_S
    _asked: Instant | None = None
    _paces: tuple[float, float] = (1.0, 1.0)
    """Seconds of the service per second here, over the last two pauses; a local marketplace may run
    faster. A single pause may be wrong because a clock was set."""

    def leased(self, session: Session) -> list[Intent]:
        """The orders whose limits it keeps, as the ledger has them now.

        Raises:
            ConfigError: the ledger can't be read.
        """
        if self.order_id is None:
            found = session.ledger.running()
        else:
            intent = session.ledger.by_order(self.order_id)
            found = [] if intent is None else [intent]
        return [intent for intent in leased(found) if self.mine(intent)]

    def check(self, session: Session) -> Flow[tuple[list[Limit], list[Limit]]]:
        """The limits that are near, once per order, and those at which to end an order now."""
        try:
            found = yield from local(self.leased, session)
            now = yield from clock()
            if found and self.asks and now.mono >= self._due:
                now = yield from self._ask(session)
                found = yield from local(self.leased, session)
        except ConfigError as exc:
            session.note_trouble(str(exc))
            return [], []
        known = [each for i in found for each in limits(i, now.wall, session.rates)]
        steady = max(1.0, min(self._paces))
        begin = [(each.begins_in_s(self.ending_s, steady), each) for each in known]
        coming = (left / max(1.0, *self._paces) for left, _ in begin if left > 0)
        self._due = min(self._due, now.mono + max(_LEAST_S, min(coming, default=self.every_s)))
        over = {each.intent.order_id: each for left, each in begin if left <= 0}
        near = {each.intent.order_id: each for each in known if each.near}
        news = [each for order_id, each in near.items() if order_id not in {*self._warned, *over}]
        self._warned = set(near)
        return news, list(over.values())

    def _ask(self, session: Session) -> Flow[Instant]:
        self.failure = None
        # The time must count on: a look does not retry.
        once = replace(session, rules=replace(session.rules, max_retries=0))
        try:
            yield from orders(once)
        except CloreAPIError as exc:
            self.failure = exc
        now = yield from clock()
        if self.failure is None:
            self.failed_at = None
            was, self._asked = self._asked, now
            if was is not None and now.mono > was.mono:
                pace = (now.wall - was.wall) / (now.mono - was.mono)
                self._paces = (self._paces[1], pace)
        elif self.failed_at is None:
            self.failed_at = now.mono
        self._due = now.mono + self._pause_s
        self._pause_s = min(2 * self._pause_s, self.every_s)
        return now


def near(limit: Limit) -> str:
    """The message for a limit that is near."""
    left = lease.left(limit.left_s)
    if limit.reason == "max_cost":
        return f"{limit}; it will be cancelled in about {left}."
    return f"{limit}, in {left}. Keep the order: clore lease extend {limit.intent.order_id} 6h"


def reached(limit: Limit) -> LimitReached:
    """The error for an order that was ended at its limit."""
    option = "--max-cost" if limit.reason == "max_cost" else "--lease"
    found = LimitReached(f"{limit}, so it was cancelled. To allow more next time, raise {option}.")
    found.order_id = limit.intent.order_id
    return found


def note_reason(session: Session, limit: Limit) -> None:
    """Record in the ledger why an order was ended."""
    try:
        session.ledger.update(limit.intent, reason=ending.of_limit(limit.reason))
    except ConfigError as exc:
        session.note_trouble(str(exc))
