"""`clore stop`: end a job."""

from __future__ import annotations

import click

from clore_ai.cli import output
from clore_ai.cli.account import connect
from clore_ai.cli.supervise import watching
from clore_ai.cli.supervise.console import Console


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
    from clore_ai.jobs.status import stop_elsewhere

    code = 0
    with connect(ask=False) as api:
        kept = Jobs.of(api.session)
        message = api.in_loop(lambda engine: stop_elsewhere(engine, kept, job_id))
        if message is not None:
            output.note(message)
            job = kept.get(job_id)
        else:
            console = Console(to_stderr=True)
            outcome = watching.live(api, console, lambda life: life.stop(job_id))
            job, code = outcome.job, watching.exit_code(outcome, console)
    if as_json:
        output.data(job)
    return code
