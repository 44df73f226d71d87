"""Ends the orders that are past a limit, and takes over the jobs that no process watches.

If an order's job is not settled, the order is left to the process that watches the job: it stops
the job, fetches the outputs and cancels the order. An unwatched job gets such a process.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Literal

from clore_ai._api.steps import clock
from clore_ai.exceptions import AuthError
from clore_ai.jobs import status
from clore_ai.jobs.reap.turns import Turns
from clore_ai.jobs.store import Jobs
from clore_ai.jobs.supervise import background
from clore_ai.rental.limits import enforce, expiry
from clore_ai.rental.orders import cancel, ending

if TYPE_CHECKING:
    from clore_ai.jobs.engine import Engine
    from clore_ai.jobs.store import Job
    from clore_ai.rental.limits.enforce import Keeper
    from clore_ai.rental.limits.expiry import Limit
    from clore_ai.rental.orders.cancel import Cancelling

_GONE_WITHIN_S = 60.0
_LOOK_S = 0.2

ReapEventKind = Literal[
    "near", "over", "ending", "cancelled", "failed", "unwatched", "job", "unsettled", "trouble"
]


@dataclass(frozen=True)
class ReapEvent:
    """One event of `client.reap`, with a sentence.

    An order is ``"near"`` or ``"over"`` a limit, ``"ending"``, then ``"cancelled"`` or
    ``"failed"``. A job is ``"unwatched"``, then taken over: ``"job"``, or ``"unsettled"`` if that
    failed. ``"trouble"`` is an error of the network or the service.
    """

    what: ReapEventKind
    message: str
    at: float
    """Unix seconds by the service's clock."""
    limit: Limit | None = None
    """The order's limit."""
    cancelling: Cancelling | None = None
    """What became of the order; None if the process that watches its job ended it."""
    job: Job | None = None
    standing: str | None = None
    """How the job stands, as `client.my_jobs` has it."""

    def row(self) -> dict[str, Any]:
        """The event for ``--json``."""
        if self.job is not None:
            return {"event": "job", **self.job.row(self.standing)}
        if self.limit is None:
            return {"event": self.what, "message": self.message, "at": self.at}
        done = {} if self.cancelling is None else self.cancelling.row()
        if self.what == "cancelled":
            done["cancelled"] = True  # also if it was ended with its job
        return {"event": self.what, **self.limit.row(), **done, "at": self.at}


OnEvent = Callable[[ReapEvent], object]


@dataclass
class Reaper:
    """Ends the orders of its `keeper`, once or in a loop, and reports each event."""

    engine: Engine
    keeper: Keeper
    on_event: OnEvent
    dry_run: bool = False
    """Only report what would be ended."""
    _turns: Turns = field(init=False)

    def __post_init__(self) -> None:
        self._turns = Turns(self.engine.session, ends=not self.dry_run)

    async def once(self) -> None:
        """End what is past a limit now, and settle the jobs that have ended.

        Raises:
            CloreAPIError: the orders, or the ledger, can't be read.
        """
        session = self.engine.session
        for found in await self.engine.drive(expiry.due(session)):
            # Another command may have extended this order while the previous one was cancelled.
            intent = await self.engine.local(session.ledger.reread, found.intent)
            now = (await self.engine.drive(clock())).wall
            limit = expiry.over(intent, now, session.rates)
            if limit is None:
                continue
            if self.dry_run:
                await self._report("over", f"{limit}.", limit)
            elif await self._ended_by_its_job(limit):
                await self._report("cancelled", f"{limit}; it was ended with its job.", limit)
            else:
                await self._end(limit)
        await self._take_over(waits=True)

    async def loop(self, goes_on: Callable[[], bool]) -> None:
        """End orders at their limits while `goes_on()`; `CloreAPIError` is reported and retried.

        Raises:
            AuthError: the key is refused.
        """
        keeper, engine, trouble, jobs_due = self.keeper, self.engine, "", 0.0
        while await engine.local(goes_on):
            near, over = await engine.drive(keeper.check(engine.session))
            for limit in near:
                await self._report("near", enforce.near(limit), limit)
            for limit in over:
                if not await engine.local(self._turns.take, limit):
                    continue
                if self.dry_run:
                    await self._report("over", f"{limit}.", limit)
                else:
                    await self._end(limit)
            if isinstance(keeper.failure, AuthError):
                raise keeper.failure
            before, trouble = trouble, "" if keeper.failure is None else str(keeper.failure)
            if trouble and trouble != before:
                await self._report("trouble", trouble)
            if time.monotonic() >= jobs_due:
                await self._take_over(waits=False)
                jobs_due = time.monotonic() + keeper.every_s
            await asyncio.sleep(min(enforce.SLICE_S, keeper.every_s))

    async def _end(self, limit: Limit) -> None:
        order_id, why = limit.intent.order_id or 0, ending.of_limit(limit.reason)
        done = cancel.Cancelling(order_id, why=why)
        await self._report("ending", f"{limit}: ending it.", limit, done)
        await self.engine.drive(cancel.end(self.engine.session, [done], timeout_s=_GONE_WITHIN_S))
        if done.gone:
            await self._report("cancelled", f"Order {order_id} was cancelled.", limit, done)
        else:
            await self._report("failed", str(done.error), limit, done)

    async def _ended_by_its_job(self, limit: Limit) -> bool:
        """Wait for the process that watches its job, as in `turns`; has the order ended?"""
        while await self.engine.local(self._turns.left_to_its_job, limit):  # noqa: ASYNC110 - another process
            await asyncio.sleep(_LOOK_S)
        ledger = self.engine.session.ledger
        return not (await self.engine.local(ledger.reread, limit.intent)).runs

    async def _take_over(self, *, waits: bool) -> None:
        """Start a watcher for each unwatched job; with `waits`, wait for those that have ended."""
        engine, jobs = self.engine, Jobs.of(self.engine.session)
        unwatched = await engine.local(jobs.unwatched)
        states = await status.states(engine, jobs, unwatched)
        for job in unwatched:
            ended = background.ended(job, states.get(job.id))
            process = None if self.dry_run else await engine.local(background.again, jobs, job)
            if process is None and not self.dry_run:
                continue  # another process took it first
            had = "has ended" if ended else "is not watched"
            said = f"Job {job.id} {had}{'' if self.dry_run else '; it is taken over'}."
            await self._report("unwatched", said, job=job)
            what: ReapEventKind = "job"
            if process is not None and ended and waits:
                while process.poll() is None:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(_LOOK_S)
                job = await engine.local(jobs.get, job.id)  # noqa: PLW2901 - as it is now
                what = "unsettled" if job.unsettled else "job"
            standing = job.state if job.over else states.get(job.id, job.state)
            said = f"Job {job.id}: {standing}."
            if what == "unsettled":
                log = jobs.folder(job.id) / "watcher.log"
                said = f"Job {job.id} could not be settled: see {log}"
            await self._report(what, said, job=job, standing=standing)

    async def _report(
        self,
        what: ReapEventKind,
        message: str,
        limit: Limit | None = None,
        cancelling: Cancelling | None = None,
        *,
        job: Job | None = None,
        standing: str | None = None,
    ) -> None:
        at = (await self.engine.drive(clock())).wall
        self.on_event(ReapEvent(what, message, at, limit, cancelling, job, standing))
