"""Runs programs of this machine for flows: the step `Exec`, blocking and in an event loop.

Each has a process group of its own, so that Ctrl-C on the terminal is ours to handle, and ends
with all that it started.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING

from clore_ai._flow import Done
from clore_ai._interrupts import deferred, waiting

if TYPE_CHECKING:
    from clore_ai._flow import Exec

_NOT_HERE = 127


@deferred()  # a program that is half started could not be found to be ended
def run(step: Exec) -> Done:
    """Run it in the calling thread."""
    try:
        process = subprocess.Popen(  # noqa: S603 - the flow's words, no shell
            step.words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=step.folder,
            start_new_session=True,
        )
    except OSError as exc:
        return _not_here(step, exc)
    with process:
        try:
            with waiting():
                out, err = process.communicate(step.stdin, step.within_s)
        except subprocess.TimeoutExpired:
            _end(process.pid)
            out, err = process.communicate()
            return Done(None, out, err)
        except BaseException:
            _end(process.pid)
            process.wait()  # `Popen` itself does not, after a Ctrl-C
            raise
    return Done(process.returncode, out, err)


async def run_async(step: Exec) -> Done:
    """Run it beside the event loop's other tasks."""
    pipe = asyncio.subprocess.PIPE
    # Shielded: cancelled in the midst of it, asyncio would end the program alone, and wait for
    # what that has started.
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *step.words,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            cwd=step.folder,
            start_new_session=True,
        )
    )
    try:
        process = await asyncio.shield(starting)
    except OSError as exc:
        return _not_here(step, exc)
    except BaseException:
        await _stopped(await starting)
        raise
    talk = asyncio.ensure_future(process.communicate(step.stdin))
    try:
        out, err = await asyncio.wait_for(asyncio.shield(talk), step.within_s)
    except asyncio.TimeoutError:
        _end(process.pid)
        return Done(None, *(await talk))
    except BaseException:
        _end(process.pid)
        await talk
        raise
    return Done(process.returncode, out, err)


async def _stopped(process: asyncio.subprocess.Process) -> None:
    _end(process.pid)
    await process.communicate()


def _not_here(step: Exec, exc: OSError) -> Done:
    return Done(_NOT_HERE, b"", f"{step.words[0]}: {exc.strerror}".encode())


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
