"""The parts of a job's life: its machine, the callbacks for its events, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Callable, Literal

from clore_ai._ssh.copy import MOST_OUTPUT
from clore_ai._values import sizes
from clore_ai.exceptions import BudgetError, InvalidInputError
from clore_ai.rental import options
from clore_ai.rental.limits import enforce, expiry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clore_ai.exceptions import CloreAPIError
    from clore_ai.jobs.store import Job
    from clore_ai.jobs.supervise.supervision import Ending
    from clore_ai.models import Order
    from clore_ai.models.records import Intent, RentEvent
    from clore_ai.rental.limits.expiry import Limit
    from clore_ai.rental.options import RentOptions
    from clore_ai.rental.orders.cancel import Cancelling
    from clore_ai.rental.rent.attempt import Rented
    from clore_ai.rental.rent.ranking import Offer
    from clore_ai.rental.rent.wish import Wish
    from clore_ai.rental.session import Session
    from clore_ai.rental.spend.lease import Limits


@dataclass(frozen=True)
class Plan:
    """Where a job runs, and what happens to its machine."""

    order_id: int | None = None
    """The order that the job runs on; None to rent one according to `wish`."""
    wish: Wish | None = None
    offers: list[Offer] | None = None
    """Offers to try, in this order; None to look them up."""
    cancels: bool = True
    """Cancel the machine at the end of the job."""
    retries: bool = False
    """If the machine is lost, start again on another one; the cost limit covers all of them."""
    detach: bool = False
    """Return once the job runs; a background process watches it from then on."""
    fetch_every_s: float = 10.0
    lost_after_s: float = 300.0
    """The machine is lost if its SSH is silent for this long while the service answers."""
    max_output: int = sizes.read(MOST_OUTPUT)
    """The most bytes that the outputs may hold in total."""

    def record(self) -> dict[str, Any]:
        """The fields of the job's record."""
        bid = self.wish and self.wish.max_bid_usd is not None and self.wish.most_usd_per_hour
        return {
            "order_id": self.order_id or 0,
            "cancels": self.cancels,
            "lost_after_s": self.lost_after_s,
            "fetch_every_s": self.fetch_every_s,
            "max_output": self.max_output,
            "max_bid_usd": bid or None,
        }


@dataclass
class Callbacks:
    """The callbacks for the events of a job."""

    on_output: Callable[[bytes], object] | None = None
    """Called with the job's output, standard output and errors combined."""
    on_message: Callable[[str], object] = lambda _sentence: None
    on_rent: Callable[[RentEvent], object] = lambda _event: None
    on_offers: Callable[[Wish, list[Offer], float], object] = lambda _wish, _offers, _now: None
    """Called before a job starts again on another machine; with the time, unix seconds."""
    on_cancelled: Callable[[Cancelling], object] | None = None
    """None: `on_message` is called instead."""
    on_stays: Callable[[Job, Intent | Order | None, bool], object] | None = None
    """Called if the machine is not cancelled with the job: with what is known of the order, and
    True if the machine may be lost. None: as above."""

    @classmethod
    def of(
        cls,
        on_output: Callable[[bytes], object] | None,
        on_message: Callable[[str], object] | None,
    ) -> Callbacks:
        """The callbacks of a caller in Python; None for none."""
        if on_message is None:
            return cls(on_output)
        return cls(on_output, on_message, lambda event: on_message(event.message))


@dataclass
class Outcome:
    """How a job's life ended, as far as this process watched it."""

    job: Job
    ending: Ending | Literal["over", "unstarted", "unrented"]
    """`over`: nothing was left to do. `unstarted`: the process was stopped before the job started.
    `unrented`: the user stopped the job while its machine was being rented."""
    limit: Limit | None = None
    """The limit that its machine reached."""
    failure: CloreAPIError | None = None
    """Why its machine may still run."""

    @property
    def error(self) -> CloreAPIError | None:
        """The error for a job whose machine was ended at its limit; None for all others."""
        if self.ending == "limit" and self.limit is not None and self.failure is None:
            return enforce.reached(self.limit)
        return None

    def result(self) -> Job:
        """The job's record.

        Raises:
            LimitReached: its machine was ended at its limit.
        """
        if self.error is not None:
            raise self.error
        return self.job


def planned(
    order_id: int | None,
    gpu: str | Sequence[str] | None,
    rent: RentOptions | None,
    *,
    cancel: bool | None,
    detach: bool,
    retries: bool,
    fetch_every_s: float,
    lost_after_s: float,
    max_output: str,
) -> Plan:
    """The plan for a caller in Python; see `CloreAI.run`.

    Raises:
        InvalidInputError: the arguments contradict each other, or one is out of range.
    """
    if order_id is None and gpu is None and rent is None:
        raise InvalidInputError("Give order_id, or what to rent: gpu or rent.")
    if order_id is not None and (rent is not None or gpu is not None or retries):
        raise InvalidInputError("gpu, rent and retry_on_host_loss can't be combined with order_id.")
    if not (fetch_every_s > 0 and lost_after_s > 0):
        raise InvalidInputError("fetch_every_s and lost_after_s must be above 0.")
    try:
        most_bytes = sizes.read(max_output)
    except ValueError as exc:
        raise InvalidInputError(f"max_output: {exc}") from None
    wish = None if order_id is not None else options.wished(gpu, rent or {})
    return Plan(
        order_id, wish,
        cancels=(wish is not None) if cancel is None else cancel,
        retries=retries, detach=detach, fetch_every_s=fetch_every_s, lost_after_s=lost_after_s,
        max_output=most_bytes,
    )  # fmt: skip


def next_limits(session: Session, limits: Limits, rented: Rented) -> tuple[Limits, list[str]]:
    """The limits of the machine after `rented`: a cost limit covers all machines of a job.

    Returns them with sentences for the user.

    Raises:
        BudgetError: nothing is left, or the amount spent is not known.
    """
    if limits.max_cost_usd is None:
        return limits, []
    intent = session.ledger.by_order(rented.order.id)
    cost = None if intent is None else expiry.cost_usd(intent, session.rates)
    if cost is None:
        raise BudgetError(
            f"The job is lost and does not start again: the cost of order {rented.order.id} is "
            "not known, so --max-cost can't be kept. See: clore orders --completed"
        )
    spent = cost + rented.spent_usd
    left = limits.max_cost_usd - spent
    if left <= 0:
        raise BudgetError(
            f"The job is lost and does not start again: it has cost ${spent:.2f}, of "
            f"--max-cost {limits.max_cost_usd:g}."
        )
    # A lease that the user gave may be too long for what is left, so it becomes an upper limit.
    hours = [limits.max_hours, limits.lease_s and limits.lease_s / 3600]
    longest = min((h for h in hours if h), default=None)
    limits = replace(limits, given=False, lease_s=None, max_hours=longest, max_cost_usd=left)
    return limits, [f"It has cost ${spent:.4f} so far; ${left:.4f} of --max-cost is left."]
