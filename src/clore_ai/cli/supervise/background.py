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
from typing import TYPE_CHECKING

from clore_ai._interrupts import deferred

if TYPE_CHECKING:
    from clore_ai.client import CloreAI
    from clore_ai.jobs import Job, Jobs

_FOLLOWER = "clore_ai.cli.supervise.follower"
_BY_ITSELF = ("running", "unknown", "watched")


def start(jobs: Jobs, job: Job) -> subprocess.Popen[bytes] | None:
    """Have it followed; the caller holds its lock, and lets go of it. None where it can't be."""
    lock = jobs.handed_over(job.id)
    try:
        said = os.open(jobs.folder(job.id) / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return subprocess.Popen(  # noqa: S603 - our own words
                [sys.executable, "-m", _FOLLOWER, str(job.id), str(lock)],
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
    from clore_ai.jobs.status import now

    watched = {job.id: "watched" for job in among if jobs.watched(job.id)}
    rest = [job for job in among if job.id not in watched]
    return {**watched, **api.in_loop(lambda engine: now(engine, jobs, rest))}


def ended(job: Job, state: str | None) -> bool:
    """Has it come to an end that nobody has seen to? `state`: of `states`."""
    return job.unsettled and state not in _BY_ITSELF
