"""`clore attach`: see a job through that nobody watches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from clore_ai.cli import output
from clore_ai.cli.account import connect
from clore_ai.cli.options import job_options
from clore_ai.cli.supervise import watching
from clore_ai.cli.supervise.console import Console

if TYPE_CHECKING:
    from clore_ai.jobs import Life, Outcome


@click.command()
@click.argument("job_id", type=int)
@job_options.max_output
@output.json_option
def command(job_id: int, max_output: int | None, as_json: bool) -> int:
    """Reattach to a job and follow it to the end.

    Use it for a job that was detached, or whose clore process was stopped. It shows the output of
    JOB_ID from where it stopped, fetches the outputs, and ends as `clore run` does. The exit code
    is the job's own.
    """
    watching.programs()
    console = Console(to_stderr=as_json)

    async def work(life: Life) -> Outcome:
        async with life.held(life.jobs.get(job_id)):
            job = life.jobs.get(job_id)
            job.max_output = max_output or job.max_output
            return await life.see_through(job)

    with connect(ask=False) as api:
        outcome = watching.live(api, console, work)
    return watching.report(outcome, console, as_json=as_json)
