"""`clore stop`: end a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from clore_ai.cli import output
from clore_ai.cli.account import connect
from clore_ai.cli.supervise import watching
from clore_ai.cli.supervise.console import Console

if TYPE_CHECKING:
    from clore_ai.jobs import Life, Outcome


@click.command()
@click.argument("job_id", type=int)
@output.json_option
def command(job_id: int, as_json: bool) -> int:
    """Stop a job and fetch its outputs.

    Outputs are fetched, and the machine is cancelled if `clore run` would have cancelled it. The
    processes of JOB_ID receive SIGTERM, and are killed 10 s later. If another clore process watches
    the job, it does the rest.
    """
    from clore_ai.jobs import Jobs
    from clore_ai.jobs.status import told_to_stop

    async def work(life: Life) -> Outcome:
        async with life.held(life.jobs.get(job_id)):
            return await life.see_through(life.jobs.get(job_id), stop=True)

    code = 0
    with connect(ask=False) as api:
        kept = Jobs.of(api.session)
        job = kept.get(job_id)
        if job.over and not job.unsettled:
            output.note(f"Job {job.id} has already ended ({job.state}).")
        elif kept.watched(job_id) and not kept.mark(job_id).exists():
            api.in_loop(lambda engine: told_to_stop(engine, kept, job))
            output.note(
                f"Job {job.id} was asked to stop; the clore process that watches it does the rest."
            )
        else:
            console = Console(to_stderr=True)
            outcome = watching.live(api, console, work)
            job, code = outcome.job, watching.exit_code(outcome, console)
    if as_json:
        output.data(watching.row(job))
    return code
