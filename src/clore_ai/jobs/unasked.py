"""Run, follow and stop jobs for a program: the user is asked nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from clore_ai.jobs import status
from clore_ai.jobs.life import Life
from clore_ai.jobs.store import Jobs
from clore_ai.jobs.upload import contents

if TYPE_CHECKING:
    from clore_ai.jobs.engine import Engine
    from clore_ai.jobs.plan import Callbacks, Plan
    from clore_ai.jobs.spec import Spec
    from clore_ai.jobs.store import Job


async def run(
    engine: Engine, spec: Spec, plan: Plan, callbacks: Callbacks, *, upload: bool = True
) -> Job:
    """Run a job as `Life.run` does, without asking the user anything; returns its record.

    Raises:
        InvalidInputError: the folder may not be uploaded like this; nothing was sent or rented.
        LimitReached: the order reached its lease or cost limit. The job was stopped, its outputs
            fetched, and the order cancelled.
        CloreAPIError: the job could not be run.
    """
    session = engine.session
    home = session.access.home
    agreed = None
    if upload:
        agreed = await asyncio.to_thread(
            contents.allowed, spec.folder, spec.outputs, spec.consent, home, resends=plan.retries
        )
    return (await Life(engine, Jobs.of(session), callbacks).run(spec, plan, agreed)).result()


async def attach(engine: Engine, number: int, callbacks: Callbacks) -> Job:
    """As `Life.attach`, without asking the user anything, as `run`."""
    return (await Life(engine, Jobs.of(engine.session), callbacks).attach(number)).result()


async def stop(engine: Engine, number: int, callbacks: Callbacks) -> Job:
    """As `Life.stop`, unless another process watches the job: then that one stops it."""
    jobs = Jobs.of(engine.session)
    said = await status.stop_elsewhere(engine, jobs, number)
    if said is None:
        return (await Life(engine, jobs, callbacks).stop(number)).result()
    callbacks.on_message(said)
    return await engine.local(jobs.get, number)
