"""A job's whole life: find a machine, watch the job to its end, cancel the machine.

However it ends (by itself, by the user, a limit, an error, a cancelled task), the job's own machine
is cancelled; if that fails, the record and a message say that the machine still runs. If a machine
is lost, the job may start again on another one, within what is left of its cost limit.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from clore_ai._api.steps import clock
from clore_ai._values.lengths import duration
from clore_ai.exceptions import (
    CloreAPIError,
    InvalidInputError,
    NotFoundError,
    OrderEnded,
)
from clore_ai.jobs.output import Output
from clore_ai.jobs.plan import Callbacks, Outcome, Plan, next_limits
from clore_ai.jobs.supervise import background
from clore_ai.jobs.supervise.request import JobRequest
from clore_ai.jobs.supervise.supervision import Ending, Supervision
from clore_ai.rental.limits import enforce
from clore_ai.rental.orders import cancel, ending, wait
from clore_ai.rental.rent import rent as renting

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from clore_ai.jobs.engine import Engine
    from clore_ai.jobs.spec import Spec
    from clore_ai.jobs.store import Job, Jobs
    from clore_ai.jobs.upload.contents import Upload
    from clore_ai.models import Order
    from clore_ai.models.records import Intent, RentEvent
    from clore_ai.rental.limits.expiry import Limit
    from clore_ai.rental.orders.cancel import Cancelling
    from clore_ai.rental.rent.attempt import Rented
    from clore_ai.rental.rent.ranking import Offer
    from clore_ai.rental.rent.wish import Wish

MACHINES = 3
"""The most machines that are rented, one after the other, for a job whose machine is lost."""
NOT_FOUND = 127
_GONE = "order_not_active", "order_dont_exist", "you_dont_own_this_order"
_GONE_WITHIN_S = 60.0
_LOOKS_S, _LOOK_AGAIN_S, _LEAVES_S = 0.2, 0.02, 60.0
"""A command that only checks whether a job is watched holds its lock for an instant. One that
leaves the job may first have to cancel its machine."""
_AGAIN_S, _LONGEST_AGAIN_S, _GIVES_UP_S, _LOOK_S = 5.0, 300.0, 24 * 3600.0, 0.2


@dataclass
class Life:
    """The jobs of one client, in a running event loop."""

    engine: Engine
    jobs: Jobs
    callbacks: Callbacks = field(default_factory=Callbacks)
    request: JobRequest = field(default_factory=JobRequest)
    in_background: bool = False
    """Is this the background process of a detached job?"""
    leaves: bool = False
    """If watching fails while the job runs, leave the job running and say so. Otherwise the job's
    own machine is cancelled."""

    async def run(self, spec: Spec, plan: Plan, upload: Upload | None) -> Outcome:
        """Run a job from its machine to its end, and again if the machine is lost.

        Raises:
            NoOffer, RentFailed, BudgetError, OrderUncertain …: there is no machine; nothing runs.
            CloreAPIError: the job could not be run; its record says how far it got.
        """
        for left in range(MACHINES - 1, -1, -1):
            fields = {**spec.record(), **plan.record()}
            job = await self.engine.local(self.jobs.add, fields)
            self.request.cancels = job.cancels
            async with self.held(job):
                rented = None
                if plan.wish is not None:
                    rented = await self._rent(job, plan.wish, plan.offers)
                    if rented is None:
                        return Outcome(job, "unrented")
                outcome = await self.see_through(
                    job, line=spec.line, env=spec.env, upload=upload,
                    resend=left < MACHINES - 1, forwards=spec.forwards,
                    detach=plan.detach, order=rented and rented.order,
                )  # fmt: skip
            if plan.wish is None or rented is None or not (left and self._again(plan, outcome)):
                return outcome
            session, before = self.engine.session, plan.wish.limits
            limits, said = await self.engine.local(next_limits, session, before, rented)
            bad = plan.wish.avoid | rented.bad | {rented.order.server_id or 0}
            wish = replace(plan.wish, client_ref=None, limits=limits, avoid=bad)
            for sentence in (*said, "The job starts again on another machine."):
                self._report(sentence)
            offers = await self.engine.drive(renting.find(session, wish))
            self.callbacks.on_offers(wish, offers, (await self.engine.drive(clock())).wall)
            plan = replace(plan, wish=wish, offers=offers)
        raise AssertionError("the last machine returns")

    def _again(self, plan: Plan, outcome: Outcome) -> bool:
        """Should a job whose machine was lost start again?"""
        if plan.retries and outcome.limit is not None:
            self._report("The job does not start again: its machine has reached its limit.")
        job = outcome.job
        meant = job.why in ending.MEANT
        lost = job.state == "lost" and job.cancelled and not meant
        return plan.retries and lost and self.request.wanted == "watch"

    async def _rent(self, job: Job, wish: Wish, offers: list[Offer] | None) -> Rented | None:
        """Rent a machine for the job; None if the user stopped the job meanwhile.

        If no machine is rented, the job's record is dropped.
        """
        self.request.stage = "renting"

        def on_event(event: RentEvent) -> None:
            # Only orders made here: another process of this account may be renting, too.
            if event.what in ("created", "up", "rented"):
                job.order_id = event.order_id or 0
            elif event.what in ("failed", "cancelling", "cancelled"):
                job.order_id = 0
            self.callbacks.on_rent(event)

        flow = renting.rent(self.engine.session, wish, on_event, offers)
        try:
            rented = await self._unless_stopped(asyncio.ensure_future(self.engine.drive(flow)))
            if rented is not None:
                self.request.stage = "watching"
                job.order_id = rented.order.id
                await self.engine.local(self.jobs.save, job)
                return rented
        except BaseException:
            await self._without_machine(job)
            raise
        await self._without_machine(job)
        return None

    async def _unless_stopped(self, task: asyncio.Future[Rented]) -> Rented | None:
        """The task's result, or None if the user stopped it; the task has then cleaned up."""
        before = self.request.wanted
        try:
            while not task.done():
                asked = asyncio.ensure_future(self.request.other_than(before))
                both: set[asyncio.Future[Any]] = {task, asked}
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                if asked.done() and not task.done():
                    before = asked.result()
                    task.cancel()  # its clean-up takes steps; a second cancel cuts it short
                asked.cancel()
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise
        return None if task.cancelled() else task.result()

    async def _without_machine(self, job: Job) -> None:
        self.request.stage = "ending"
        if job.order_id and job.cancels:
            await self.close(job)
        if job.cancelled or not (job.order_id and job.cancels):
            await self.engine.local(self.jobs.drop, job)

    async def see_through(self, job: Job, *, stop: bool = False, **more: Any) -> Outcome:  # noqa: ANN401 - Supervision's
        """Watch a job to its end, or end it if `stop`, and settle its machine.

        The caller holds the job's lock. `more`: arguments of `Supervision`, for a job that starts.
        """
        self.request.cancels = job.cancels
        if job.over and not job.unsettled:
            self._report(f"Job {job.id} has already ended ({job.state}).")
            return Outcome(job, "over")
        if job.state == "new" and "line" not in more:
            self._report(
                f"Job {job.id} was not started: the clore process that created it was stopped."
            )
            return Outcome(job, "unstarted", failure=await self.close(job))
        if job.over and (job.fetched or job.state != "ended"):  # only its machine is left
            is_lost = job.state == "lost"
            failure = await self.close(job, lost=is_lost)
            return Outcome(job, "lost" if is_lost else "ended", failure=failure)
        ran = job.state == "running"
        try:
            await self.engine.local(self.jobs.save, job)
            ended, limit = await self._watch(job, stop=stop, **more)
        except BaseException as exc:
            if not ran and isinstance(exc, (NotFoundError, OrderEnded)):
                # No such machine exists, so the job never started.
                await self.engine.local(self.jobs.drop, job)
            elif job.over and not job.fetched:
                self._report(
                    f"Job {job.id} ended with {job.code}, but not all of its outputs are here: "
                    f"order {job.order_id} stays up and is billed. Try again: clore attach "
                    f"{job.id}   "
                    f"Go without them: clore cancel {job.order_id}"
                )
            elif job.state == "running" and self.leaves:
                self._left(job, followed=False)
            else:
                await self.close(job)
            raise
        return await self._finish(job, ended, limit)

    async def attach(self, number: int, max_output: int | None = None) -> Outcome:
        """Watch a job to its end; its background process hands it over.

        Raises:
            NotFoundError: there is no such job.
            InvalidInputError: another process watches it from a terminal.
        """
        async with self.held(await self.engine.local(self.jobs.get, number)):
            job = await self.engine.local(self.jobs.get, number)
            job.max_output = max_output or job.max_output
            return await self.see_through(job)

    async def stop(self, number: int) -> Outcome:
        """End a job, fetch its outputs, and settle its machine; errors as in `attach`."""
        async with self.held(await self.engine.local(self.jobs.get, number)):
            job = await self.engine.local(self.jobs.get, number)
            return await self.see_through(job, stop=True)

    async def _watch(self, job: Job, *, stop: bool, **more: Any) -> tuple[Ending, Limit | None]:  # noqa: ANN401 - as above
        self.request.stage = "watching"
        log, on_output = self.jobs.log(job.id), self.callbacks.on_output
        with await self.engine.local(Output, log, on_output, self._report) as output:
            watch = Supervision(
                self.engine, self.jobs, job, output,
                on_message=self._report, request=self.request, **more,
            )  # fmt: skip
            if stop:
                self.request.want("stop")
            try:
                return await watch.run(), watch.limit
            finally:
                self.request.stage = "ending"

    async def _finish(self, job: Job, ended: Ending, limit: Limit | None) -> Outcome:
        """Report how the job ended, and cancel its machine if the job owns it."""
        if ended == "detached":
            if not self.in_background:
                process = await self.engine.local(background.start, self.jobs, job)
                self._left(job, followed=process is not None)
            return Outcome(job, ended)
        span = duration((job.ended_at or job.begun_at) - job.begun_at)
        back = f" The fetched files are in {job.folder}." if job.outputs else ""
        if ended == "limit":
            self._report(f"Job {job.id} was stopped after {span}.{back}")
            job.cancels = True  # even an order that existed before the job
            await self.engine.local(self.jobs.save, job)
            if limit is not None:
                await self.engine.local(enforce.note_reason, self.engine.session, limit)
        elif ended == "stopped":
            self._report(f"Job {job.id} was stopped after {span}.")
        elif ended == "lost":
            back = f" The files fetched before are in {job.folder}." if job.outputs else ""
            self._report(f"Job {job.id} is lost with its machine, after {span}.{back}")
        else:
            self._report(f"Job {job.id} ended with {job.code} after {span}.")
            if job.code == NOT_FOUND:
                self._report(
                    f"127 means that the shell found no such command: is {job.command[0]!r} in "
                    "the image, or does --setup have to install it?"
                )
        return Outcome(job, ended, limit, await self.close(job, lost=ended == "lost"))

    async def close(self, job: Job, *, lost: bool = False) -> CloreAPIError | None:
        """Cancel a job's machine, or report that it stays; the error if it may still run."""
        if not job.order_id:  # the ledger finds an order that was still being rented
            job.cancelled = True
            await self.engine.local(self.jobs.save, job)
            return None
        if not job.cancels:
            await self._stays(job, lost=lost)
            return None
        going = cancel.Cancelling(job.order_id)
        session = self.engine.session
        await self.engine.drive(cancel.until_gone(session, [going], None, _GONE_WITHIN_S))
        await self._cancelled(going)
        if going.error is not None and going.error.error not in (_GONE if lost else _GONE[:1]):
            return going.error
        job.cancelled = True
        await self.engine.local(self.jobs.save, job)
        return None

    async def until_cancelled(self, job: Job) -> CloreAPIError | None:
        """Keep trying to cancel the machine, which is billed meanwhile.

        Only in the background, until the process is called off, and for a day at most.
        """
        failure, pause_s, until = None, _AGAIN_S, time.monotonic() + _GIVES_UP_S
        while job.over and job.cancels and not job.cancelled:
            ends_at = time.monotonic() + pause_s
            while time.monotonic() < ends_at:
                if ends_at > until or not (await self.engine.local(self.jobs.mark(job.id).exists)):
                    return failure
                await asyncio.sleep(_LOOK_S)
            failure = await self.close(job, lost=job.state == "lost")
            pause_s = min(2 * pause_s, _LONGEST_AGAIN_S)
        return failure

    @asynccontextmanager
    async def held(self, job: Job) -> AsyncGenerator[None]:
        """In this block no other process watches the job; a background process hands it over.

        Raises:
            InvalidInputError: another process watches it from a terminal.
        """
        until = time.monotonic() + _LOOKS_S
        while time.monotonic() < until:
            if await self.engine.local(self.jobs.take, job.id):
                try:
                    await self.engine.local(self.jobs.call_off, job.id)  # for one that was killed
                    yield
                finally:
                    self.jobs.leave(job.id)
                return
            if await self.engine.local(self.jobs.call_off, job.id):
                until = time.monotonic() + _LEAVES_S
            await asyncio.sleep(_LOOK_AGAIN_S)
        raise InvalidInputError(
            f"Job {job.id} is already watched by another clore process. Follow its output with: "
            f"clore logs {job.id} -f. See: clore jobs"
        )

    def _report(self, sentence: str) -> None:
        with suppress(OSError):  # the terminal is gone
            self.callbacks.on_message(sentence)

    async def _cancelled(self, each: Cancelling) -> None:
        if each.ended:
            await self.engine.local(self.engine.session.access.forget, each.order_id)
        if self.callbacks.on_cancelled is not None:
            with suppress(OSError):
                self.callbacks.on_cancelled(each)
        elif each.gone:
            self._report(each.in_words())
        else:
            self._report(str(each.error))

    async def _stays(self, job: Job, *, lost: bool) -> None:
        if self.callbacks.on_stays is None:
            stays = "may still be billed" if lost else "keeps running and is billed"
            self._report(f"Order {job.order_id} {stays}. Stop paying: clore cancel {job.order_id}")
            return
        session = self.engine.session
        known: Intent | Order | None = None
        with suppress(CloreAPIError):
            known = await self.engine.local(session.ledger.by_order, job.order_id)
            if known is None:
                known = await self.engine.drive(wait.find(session, job.order_id))
        with suppress(OSError):
            self.callbacks.on_stays(job, known, lost)

    def _left(self, job: Job, *, followed: bool) -> None:
        machine = f"its machine, order {job.order_id}, is cancelled"
        end = machine if job.cancels else "its end is recorded"
        after = (
            f"It is watched in the background: at its end its outputs are fetched, and {end}."
            if followed
            else f"Nothing watches it; order {job.order_id} is billed, even after the job has "
            "ended, until clore jobs, reap or attach takes it over."
            if job.cancels
            else f"It runs on order {job.order_id}."
        )
        self._report(
            f"Job {job.id} keeps running. {after} Watch: clore logs {job.id} -f   "
            f"Follow it to the end: clore attach {job.id}   Stop it: clore stop {job.id}"
        )
