"""The process in the background that sees one job through; `background` starts it."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import click

from clore_ai.cli.supervise import watching

if TYPE_CHECKING:
    from clore_ai.client import CloreAI
    from clore_ai.jobs import Jobs

_AGAIN_S, _LONGEST_AGAIN_S, _GIVES_UP_S, _LOOK_S = 5.0, 300.0, 24 * 3600.0, 0.2


@click.command()
@click.argument("job_id", type=int)
@click.argument("lock", type=int)
def command(job_id: int, lock: int) -> int:
    """See a job through in the background; its lock is this open file, until we end."""
    from clore_ai.cli.supervise.console import Console
    from clore_ai.client import CloreAI

    os.set_inheritable(lock, False)
    with CloreAI(state=True) as api:  # what a command that was stopped left is not for us to tell
        jobs = watching.jobs_of(api)
        console = Console(background=jobs.mark(job_id))
        try:
            code = watching.see_through(api, jobs, jobs.get(job_id), console)
            return _until_cancelled(api, jobs, job_id) or code
        finally:
            jobs.call_off(job_id)


def _until_cancelled(api: CloreAI, jobs: Jobs, job_id: int) -> int:
    """Cancel the machine again and again where the service did not; it is billed meanwhile."""
    code, pause_s, until = 0, _AGAIN_S, time.monotonic() + _GIVES_UP_S
    while (job := jobs.get(job_id)).over and job.cancels and not job.cancelled:
        ends_at = time.monotonic() + pause_s
        while time.monotonic() < ends_at:
            if not jobs.mark(job_id).exists() or ends_at > until:
                return code
            time.sleep(_LOOK_S)
        code = watching.close(api, jobs, job, lost=job.state == "lost")
        pause_s = min(2 * pause_s, _LONGEST_AGAIN_S)
    return code


if __name__ == "__main__":
    from clore_ai.cli import errors

    sys.exit(errors.run(command, sys.argv[1:]))
