"""`clore attach`: see a job through that nobody watches."""

from __future__ import annotations

import click

from clore_ai.cli import _job, _job_options, _output
from clore_ai.cli._account import connect
from clore_ai.cli._console import Console


@click.command()
@click.argument("job_id", type=int)
@_job_options.max_output
@_output.json_option
def command(job_id: int, max_output: int | None, as_json: bool) -> int:  # noqa: FBT001 - options
    """See a job through that nobody watches.

    Shows the output of JOB_ID from where that stopped, fetches, and ends as run does: for a job
    that was detached, or whose clore was stopped. The exit code is the job's own.
    """
    _job.programs()
    console = Console(to_stderr=as_json)
    with connect(ask=False) as api:
        kept = _job.jobs_of(api)
        job = kept.get(job_id)
        with _job.held(kept, job):
            job = kept.get(job_id)
            job.max_output = max_output or job.max_output
            code = _job.see_through(api, kept, job, console)
    return _job.report(job, code, console, as_json=as_json)
