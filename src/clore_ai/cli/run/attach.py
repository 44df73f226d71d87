"""`clore attach`: reattach to a job and follow it to the end."""

from __future__ import annotations

import click

from clore_ai.cli import output
from clore_ai.cli.account import connect
from clore_ai.cli.options import job_options
from clore_ai.cli.supervise import watching
from clore_ai.cli.supervise.console import Console


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
    watching.need_ssh()
    console = Console(to_stderr=as_json)
    with connect(ask=False) as api:
        outcome = watching.live(api, console, lambda life: life.attach(job_id, max_output))
    return watching.report(outcome, console, as_json=as_json)
