"""The background process that watches a detached job. Each job has its own.

It outlives its terminal and ends with its job: it fetches the outputs, records the exit code and
cancels the machine. It inherits the job's lock as an open file, so that exactly one process watches
the job at any moment. It leaves when it gets a signal, or when `Jobs.call_off` is called, which is
how `clore attach` and `clore stop` take the job over. If this machine was off, the next
`clore jobs`, `reap` or `attach` starts it again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator
    from pathlib import Path

    from clore_ai.jobs.store import Job, Jobs

FOLLOWER = "clore_ai.cli.supervise.follower"
"""The module that the background process runs."""
_BY_ITSELF = ("running", "unknown", "watched")


def start(jobs: Jobs, job: Job) -> subprocess.Popen[bytes] | None:
    """Start the process; None if that fails. The caller holds the job's lock, and releases it."""
    lock = jobs.handed_over(job.id)
    words = [FOLLOWER, str(job.id), str(lock)]
    try:
        process = spawn(words, lock, jobs.folder(job.id) / "watcher.log", jobs.home)
    except OSError:
        jobs.call_off(job.id)
        return None
    # Wait for it in a thread, so that a caller that lives on keeps no zombie process.
    threading.Thread(target=process.wait, daemon=True).start()
    return process


def spawn(
    words: list[str], lock: int, log: Path, home: Path, *, without: Container[str] = ()
) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one, and that inherits an open lock file.

    Args:
        words: the module to run, and its arguments.
        lock: the file's descriptor.
        log: the file for its standard error.
        home: the state folder.
        without: environment variables that it does not inherit.

    Raises:
        OSError: the process can't be started.
    """
    environment = {name: value for name, value in os.environ.items() if name not in without}
    stderr = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(  # noqa: S603 - our own words
            [sys.executable, "-m", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=(lock,),
            start_new_session=True,
            # Not the user's folder: a module there could shadow one of ours.
            cwd=home,
            env={**environment, "CLORE_HOME": str(home.absolute())},
        )
    finally:
        os.close(stderr)


def again(jobs: Jobs, job: Job) -> subprocess.Popen[bytes] | None:
    """Start it for a job that no process watches, if something is left to do; else None."""
    with jobs.hold(job.id) as mine:
        if not mine:
            return None
        job = jobs.get(job.id)
        return start(jobs, job) if job.unsettled else None


def take_over(jobs: Jobs, found: Iterable[tuple[Job, str]]) -> Iterator[str]:
    """Start it for each job of a list that no process watches; a sentence on each."""
    for job, state in found:
        if state != "watched" and again(jobs, job) is not None:
            had = "had ended" if ended(job, state) else "was not watched"
            yield f"Job {job.id} {had}; a background process takes it over now."


def ended(job: Job, state: str | None) -> bool:
    """Has the job ended without being settled? `state`: of `status.states`."""
    return job.unsettled and state not in _BY_ITSELF
