"""Orders at their limits that are left to the process of their job; and those that nobody keeps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from clore_ai.jobs import background
from clore_ai.rental.limits import expiry
from clore_ai.rental.limits.enforce import GRACE_S

if TYPE_CHECKING:
    from clore_ai.jobs.store import Jobs
    from clore_ai.rental.limits.expiry import Limit
    from clore_ai.rental.session import Session


def to_its_job(jobs: Jobs, limit: Limit, since: dict[int | None, float]) -> bool:
    """Is it ended by who watches its job? One that nobody watches is watched from now on.

    `since`: when each order was first left so; after some minutes it is no more.
    """
    order_id, now = limit.intent.order_id, time.monotonic()
    if now - since.setdefault(order_id, now) > GRACE_S:
        return False
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
