"""The background process that follows one job to its end; `jobs.supervise.background` starts it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from clore_ai.cli.supervise import watching

if TYPE_CHECKING:
    from clore_ai.jobs import Life, Outcome


@click.command()
@click.argument("job_id", type=int)
@click.argument("lock", type=int)
def command(job_id: int, lock: int) -> int:
    """Watch a job in the background; its lock is this open file, until this process ends."""
    from clore_ai import CloreAI
    from clore_ai.cli.supervise.console import Console
    from clore_ai.jobs import Jobs

    os.set_inheritable(lock, False)

    async def work(life: Life) -> Outcome:
        outcome = await life.see_through(life.jobs.get(job_id))
        if outcome.failure is not None:
            outcome.failure = await life.until_cancelled(outcome.job)
        return outcome

    with CloreAI(state=True) as api:  # reports no orders of stopped commands
        jobs = Jobs.of(api.session)
        console = Console(background=jobs.mark(job_id))
        try:
            return watching.exit_code(watching.live(api, console, work), console)
        finally:
            jobs.call_off(job_id)


if __name__ == "__main__":
    from clore_ai.cli import errors

    sys.exit(errors.run(command, sys.argv[1:]))
