"""Reads the state and the output of jobs without watching them. Writes nothing."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Callable

from clore_ai._ssh import async_programs
from clore_ai._ssh.connection import ConnectionLost, SSHConnection
from clore_ai.exceptions import CloreAPIError, OrderEnded
from clore_ai.jobs import scripts
from clore_ai.jobs.store import Jobs
from clore_ai.jobs.supervise.follow import Follower, Silent
from clore_ai.rental.orders import wait
from clore_ai.rental.orders.reconcile import end_of, orders

if TYPE_CHECKING:
    from pathlib import Path

    from clore_ai.jobs.engine import Engine
    from clore_ai.jobs.store import Job
    from clore_ai.models import Order

_WITHIN_S = 8.0
_POLL_S = 0.2
_TRIES, _PAUSE_S = 5, 1.0
_CHUNK = 1 << 20


async def states(engine: Engine, jobs: Jobs, among: list[Job]) -> dict[int, str]:
    """States of the jobs in `among` that are not over, by number; `watched` ones are not asked."""
    left = [job for job in among if not job.over]
    watched = {job.id: "watched" for job in left if await engine.local(jobs.watched, job.id)}
    return {**watched, **await now(engine, jobs, [j for j in left if j.id not in watched])}


async def listed(engine: Engine, latest: int = 0) -> list[tuple[Job, str]]:
    """The jobs of the account with their states: as in `now`, or `state` if the job is over.

    `latest`: only so many; 0 for all.

    Raises:
        CloreAPIError: the service can't be asked.
    """
    jobs = Jobs.of(engine.session)
    found = (await engine.local(jobs.all))[-latest:]
    standing = await states(engine, jobs, found)
    return [(job, standing.get(job.id, job.state)) for job in found]


async def now(engine: Engine, jobs: Jobs, running: list[Job]) -> dict[int, str]:
    """States of these jobs, by number, asked of the service and the machines concurrently.

    `running`, `done` (its end is not recorded yet), `died`, `gone` (its order has ended), `unknown`
    (the machine does not answer) or `new` (it was not started).
    """
    if not running:
        return {}
    rows = await engine.drive(orders(engine.session, include_completed=True))
    by_id = {order.id: order for order in rows}

    async def one(job: Job) -> str:
        standing = engine.session.listings.of(job.order_id)
        order = by_id.get(job.order_id)
        if order is None or standing != "running":
            return standing
        if job.state == "new":
            return "new"
        try:
            word = await async_programs.within(_WITHIN_S, _standing(engine, jobs, job, order))
        except (asyncio.TimeoutError, CloreAPIError, ConnectionLost):
            return "unknown"
        return {"ended": "done", "runs": "running"}.get(word.what, "died")

    return dict(zip((job.id for job in running), await asyncio.gather(*map(one, running))))


async def _standing(engine: Engine, jobs: Jobs, job: Job, order: Order) -> scripts.Word:
    target = await engine.local(engine.session.access.target, order)
    line = SSHConnection(target, jobs.home)
    await line.open()
    try:
        far = 1 << 60  # skip all of the output
        done = await line.run(scripts.follow(job.name, far, wait=False))
    finally:
        await line.close()
    said = [word for each in done.err.splitlines() if (word := scripts.word(each)) is not None]
    if not said:
        raise ConnectionLost("no word of the job")
    return said[-1]


async def stop_elsewhere(engine: Engine, jobs: Jobs, number: int) -> str | None:
    """Stop a job that another process watches and will settle; returns a sentence for the user.

    A job that has ended gets a sentence, too; None if the caller has to stop the job.

    Raises:
        NotFoundError: there is no such job.
        CloreAPIError: the order has ended, or could not be reached.
    """
    job = await engine.local(jobs.get, number)
    if job.over and not job.unsettled:
        return f"Job {number} has already ended ({job.state})."
    if not await engine.local(lambda: jobs.watched(number) and not jobs.mark(number).exists()):
        return None
    await _stop_there(engine, jobs, job)
    return f"Job {number} was asked to stop; the clore process that watches it does the rest."


async def _stop_there(engine: Engine, jobs: Jobs, job: Job) -> None:
    """End the job's processes on the machine; also done once its watcher has recorded the end."""
    order = await engine.drive(wait.listed(engine.session, job.order_id, known=True))
    if not order.active:
        raise await engine.drive(end_of(engine.session, order))
    target = await engine.local(engine.session.access.target, order)
    line = SSHConnection(target, engine.session.access.home)

    async def send_stop() -> None:
        await line.open()
        await line.run(scripts.stop(job.name))

    async def seen() -> None:  # its watcher may cancel the machine meanwhile
        while not (await engine.local(jobs.get, job.id)).over:  # noqa: ASYNC110 - another process sets it
            await asyncio.sleep(_POLL_S)

    tasks = {asyncio.ensure_future(send_stop()), asyncio.ensure_future(seen())}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    except ConnectionLost as exc:
        if not (await engine.local(jobs.get, job.id)).over:
            raise CloreAPIError(f"Order {order.id} can't be reached ({exc}); try again.") from exc
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await line.close()


async def output(
    engine: Engine, number: int, show: Callable[[bytes], object], *, follow: bool
) -> None:
    """As `read`, for the job with this number."""
    jobs = Jobs.of(engine.session)
    await read(engine, jobs, await engine.local(jobs.get, number), show, follow=follow)


async def read(
    engine: Engine, jobs: Jobs, job: Job, show: Callable[[bytes], object], *, follow: bool
) -> None:
    """Pass on the job's output from the beginning; to its end with `follow`.

    Raises:
        OSError: `show` failed.
        CloreAPIError: the output can't be read.
    """
    log = jobs.log(job.id)
    if job.state == "new" or job.over:
        await _rest(log, 0, show)
        return
    size = 0
    while await engine.local(jobs.watched, job.id):  # its log grows while it is watched
        job = await engine.local(jobs.get, job.id)
        size = await _rest(log, size, show)
        if not follow or job.over:
            return
        await asyncio.sleep(_POLL_S)
    job = await engine.local(jobs.get, job.id)
    if job.over:
        await _rest(log, size, show)
        return
    await _from_machine(engine, jobs, job, size, show, follow=follow)


async def _from_machine(
    engine: Engine,
    jobs: Jobs,
    job: Job,
    size: int,
    show: Callable[[bytes], object],
    *,
    follow: bool,
) -> None:
    tries = 0
    while True:
        order = await engine.drive(wait.listed(engine.session, job.order_id, known=True))
        if not order.active:
            await _rest(jobs.log(job.id), size, show)
            if (await engine.local(jobs.get, job.id)).over:
                return  # its watcher has seen the end, and cancelled the order
            end = await engine.drive(end_of(engine.session, order))
            raise OrderEnded(
                f"{end} The output of job {job.id} up to then is shown.",
                order,
                end.reason,
            )
        target = await engine.local(engine.session.access.target, order)
        line = SSHConnection(target, jobs.home)
        before = size
        try:
            await line.open()
            follower = Follower(
                await line.start(scripts.follow(job.name, size, wait=follow)), waits=follow
            )
            try:
                while piece := await follower.read():
                    show(piece)
                    size += len(piece)
            finally:
                await follower.end()
            if follower.last is not None and (follower.last.size or 0) <= size:
                return
            trouble = follower.other or "the connection was cut"
        except Silent as exc:
            tries, trouble = _TRIES, str(exc)
        except ConnectionLost as exc:
            trouble = str(exc)
        finally:
            with suppress(OSError):
                await line.close()
        tries = tries + 1 if size == before else 0
        if tries >= _TRIES:
            raise CloreAPIError(f"Order {order.id} can't be reached now ({trouble}).")
        await asyncio.sleep(_PAUSE_S)


async def _rest(log: Path, size: int, show: Callable[[bytes], object]) -> int:
    """Show a file from `size` on; returns the size shown so far."""
    return await async_programs.in_thread(lambda _stopped: _shown(log, size, show))


def _shown(log: Path, size: int, show: Callable[[bytes], object]) -> int:
    try:
        file = os.open(log, os.O_RDONLY)
    except FileNotFoundError:
        return size
    try:
        while piece := os.pread(file, _CHUNK, size):
            show(piece)
            size += len(piece)
    finally:
        os.close(file)
    return size
