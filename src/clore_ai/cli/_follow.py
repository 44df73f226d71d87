"""Jobs that nobody looks on at are seen through in the background, one process each.

It outlives its terminal, and ends with its job: the outputs are fetched, the exit code is noted,
the machine is cancelled. The job's lock is handed to it as an open file, so that at no moment
nobody, or two, watch the job. It leaves when it is told to end, and when `Jobs.call_off` is called,
which is how `clore attach` and `clore stop` take the job over. The key stays on this machine: where
that is off, whichever `clore jobs`, `reap` or `attach` comes next sees to the job.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import click

from clore_ai._interrupts import deferred

if TYPE_CHECKING:
    from clore_ai.client import CloreAI
    from clore_ai.jobs import Job, Jobs

_AGAIN_S, _LONGEST_AGAIN_S, _GIVES_UP_S, _LOOK_S = 5.0, 300.0, 24 * 3600.0, 0.2
_BY_ITSELF = ("running", "unknown", "watched")


def start(jobs: Jobs, job: Job) -> subprocess.Popen[bytes] | None:
    """Have it followed; the caller holds its lock, and lets go of it. None where it can't be."""
    lock = jobs.handed_over(job.id)
    try:
        said = os.open(jobs.folder(job.id) / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return subprocess.Popen(  # noqa: S603 - our own words
                [sys.executable, "-m", __name__, str(job.id), str(lock)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                pass_fds=(lock,),
                start_new_session=True,
                # Not where the user stands: a module there could take the place of another.
                cwd=jobs.home,
                env={**os.environ, "CLORE_HOME": str(jobs.home.absolute())},
            )
        finally:
            os.close(said)
    except OSError:
        jobs.call_off(job.id)
        return None


def again(jobs: Jobs, job: Job) -> subprocess.Popen[bytes] | None:
    """Have it followed where nobody watches it and something is left to do; None elsewhere."""
    with deferred(), jobs.hold(job.id) as mine:
        if not mine:
            return None
        job = jobs.get(job.id)
        return start(jobs, job) if job.unsettled else None


def states(api: CloreAI, jobs: Jobs, among: list[Job]) -> dict[int, str]:
    """What those that are not over do now, as far as it can be told in some seconds."""
    among = [job for job in among if not job.over]
    if not among:
        return {}
    from clore_ai.jobs.look import now  # noqa: PLC0415 - not for --help

    watched = {job.id: "watched" for job in among if jobs.watched(job.id)}
    rest = [job for job in among if job.id not in watched]
    return {**watched, **api.in_loop(lambda engine: now(engine, jobs, rest))}


def ended(job: Job, state: str | None) -> bool:
    """Has it come to an end that nobody has seen to? `state`: of `states`."""
    return job.unsettled and state not in _BY_ITSELF


@click.command()
@click.argument("job_id", type=int)
@click.argument("lock", type=int)
def command(job_id: int, lock: int) -> int:
    """See a job through in the background; its lock is this open file, until we end."""
    from clore_ai.cli import _job  # noqa: PLC0415 - it starts us
    from clore_ai.cli._console import Console  # noqa: PLC0415 - only here
    from clore_ai.client import CloreAI  # noqa: PLC0415 - slow

    os.set_inheritable(lock, False)
    with CloreAI(state=True) as api:  # what a command that was stopped left is not for us to tell
        jobs = _job.jobs_of(api)
        console = Console(background=jobs.mark(job_id))
        try:
            code = _job.see_through(api, jobs, jobs.get(job_id), console)
            return _until_cancelled(api, jobs, job_id) or code
        finally:
            jobs.call_off(job_id)


def _until_cancelled(api: CloreAI, jobs: Jobs, job_id: int) -> int:
    """Cancel the machine again and again where the service did not; it is billed meanwhile."""
    from clore_ai.cli import _job  # noqa: PLC0415 - it starts us

    code, pause_s, until = 0, _AGAIN_S, time.monotonic() + _GIVES_UP_S
    while (job := jobs.get(job_id)).over and job.cancels and not job.cancelled:
        ends_at = time.monotonic() + pause_s
        while time.monotonic() < ends_at:
            if not jobs.mark(job_id).exists() or ends_at > until:
                return code
            time.sleep(_LOOK_S)
        code = _job.close(api, jobs, job, lost=job.state == "lost")
        pause_s = min(2 * pause_s, _LONGEST_AGAIN_S)
    return code


if __name__ == "__main__":
    from clore_ai.cli import _exit

    sys.exit(_exit.run(command, sys.argv[1:]))
