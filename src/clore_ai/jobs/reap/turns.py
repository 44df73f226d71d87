"""Who ends orders at their limits: the process of their job, the keeper, or the caller."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clore_ai.jobs.store import Jobs
from clore_ai.jobs.supervise import background
from clore_ai.rental.limits import expiry
from clore_ai.rental.limits.enforce import EVERY_S, GRACE_S

if TYPE_CHECKING:
    from clore_ai.rental.limits.expiry import Limit
    from clore_ai.rental.session import Session


@dataclass
class Turns:
    """Says of orders at their limits when it is the caller's turn to end them."""

    session: Session
    ends: bool = True
    """False: the caller only shows them, each once."""
    tried: dict[int | None, float] = field(default_factory=dict["int | None", float])
    """By order, when it is the caller's turn again; all whose turn it was."""
    _left_at: dict[int | None, float] = field(default_factory=dict["int | None", float])

    def take(self, limit: Limit) -> bool:
        """Is the order to be ended now?

        Not if another command has just given it more time, or has ended it; nor while the process
        that watches its job ends it.
        """
        order_id, now = limit.intent.order_id, time.monotonic()
        current = self.session.ledger.reread(limit.intent)
        changed = (current.ends_at, current.runs) != (limit.intent.ends_at, limit.intent.runs)
        if changed or now < self.tried.get(order_id, 0.0):
            return False
        self.tried[order_id] = now + EVERY_S if self.ends else math.inf
        return not (self.ends and self.left_to_its_job(limit))

    def left_to_its_job(self, limit: Limit) -> bool:
        """Does the process that watches its job end it? One that nobody watches gets such a one.

        An order is left so for some minutes.
        """
        order_id, now = limit.intent.order_id, time.monotonic()
        if now - self._left_at.setdefault(order_id, now) > GRACE_S:
            return False
        jobs = Jobs.of(self.session)
        mine = [job for job in jobs.all() if job.order_id == order_id and job.unsettled]
        return any(background.again(jobs, job) is not None or jobs.watched(job.id) for job in mine)


def unkept(session: Session, jobs: Jobs) -> list[int]:
    """The orders with a limit that nobody keeps, and that may be kept in the background."""
    ledger, watched = session.ledger, jobs.watched_orders()
    return [
        intent.order_id or 0
        for intent in expiry.leased(ledger.running())
        if intent.enforced == "always"
        and intent.order_id not in watched
        and not ledger.held(f"spot {intent.order_id}")  # who holds a bid keeps the limits, too
    ]
