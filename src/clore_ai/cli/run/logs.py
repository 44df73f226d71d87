"""`clore logs`: prints a job's output."""

from __future__ import annotations

import sys

import click

from clore_ai.cli import output
from clore_ai.cli.account import connect
from clore_ai.cli.supervise.console import Console

_MOST_JSON = 1 << 26


@click.command()
@click.argument("job_id", type=int)
@click.option("-f", "--follow", is_flag=True, help="Keep following while the job runs.")
@output.json_option
def command(job_id: int, follow: bool, as_json: bool) -> None:
    """Show what a job has written so far.

    The output of a finished job comes from the state folder, that of a running JOB_ID from its
    machine. Standard output and standard error are combined, in the order in which they were
    written.
    """
    from clore_ai.jobs import Jobs
    from clore_ai.jobs.status import read

    whole = bytearray()

    def keep(piece: bytes) -> None:
        whole.extend(piece)
        if len(whole) > _MOST_JSON:
            raise click.ClickException(
                f"Job {job_id} has written more than {_MOST_JSON >> 20} MiB, which is too long for "
                f"--json. To a file: clore logs {job_id} > FILE"
            )

    console = Console()
    with connect(ask=False) as api:
        kept = Jobs.of(api.session)
        job = kept.get(job_id)
        show = keep if as_json else console.show
        sys.stdout.flush()
        api.in_loop(lambda engine: read(engine, kept, job, show, follow=follow))
        job = kept.get(job_id)
    if as_json:
        output.data({**job.row(), "output": whole.decode("utf-8", "replace")})
    elif job.state == "new":
        output.note(f"Job {job.id} was not started.")
