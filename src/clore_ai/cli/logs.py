"""`clore logs`: what a job wrote."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from clore_ai.cli import _job, _output
from clore_ai.cli._account import connect
from clore_ai.cli._console import Console

if TYPE_CHECKING:
    from clore_ai.jobs import Job


@click.command()
@click.argument("job_id", type=int)
@click.option("-f", "--follow", is_flag=True, help="Go on as long as the job runs.")
@_output.json_option
def command(job_id: int, follow: bool, as_json: bool) -> None:  # noqa: FBT001 - options
    """Show what a job has written so far.

    Of a job that is over, from the state folder; else from the machine that runs JOB_ID. Standard
    output and errors are one, in the order in which they were written.
    """
    from clore_ai.jobs.look import read  # noqa: PLC0415 - not for --help

    whole: list[bytes] = []
    console = Console()
    with connect(ask=False) as api:
        kept = _job.jobs_of(api)
        job = kept.get(job_id)
        show = whole.append if as_json else console.show
        sys.stdout.flush()
        api.in_loop(lambda engine: read(engine, kept, job, show, follow=follow))
        job = kept.get(job_id)
    if as_json:
        _output.data({**_job.row(job), "output": b"".join(whole).decode("utf-8", "replace")})
    else:
        _say(job)


def _say(job: Job) -> None:
    if job.state == "new":
        _output.note(f"Job {job.id} was not started.")
