"""`clore jobs`: what was run, and how it stands."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from clore_ai.cli import _job, _output, _units
from clore_ai.cli._account import connect

if TYPE_CHECKING:
    from clore_ai.client import CloreAI
    from clore_ai.jobs import Job, Jobs

_SHOWN = 40


@click.command()
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True,
              help="The latest so many.")  # fmt: skip
@_output.json_option
def command(limit: int, as_json: bool) -> None:  # noqa: FBT001 - an option
    """List your jobs, those that run and those that are over.

    "watched": a clore on this machine sees it through. "done": it has ended there, and nobody has
    seen to its outputs and its machine yet: clore attach does.
    """
    with connect(ask=False) as api:
        kept = _job.jobs_of(api)
        found = kept.all()[-limit:]
        states = _states(api, kept, [job for job in found if not job.over])
    if as_json:
        _output.data([_job.row(job, states.get(job.id)) for job in found])
        return
    if not found:
        _output.note("No jobs yet. Run one with: clore run")
        return
    _output.table(
        [">ID", ">Order", "State", ">Exit", ">Time", "Command"],
        [
            [
                str(job.id),
                str(job.order_id or "-"),
                states.get(job.id, job.state),
                "-" if job.code is None else str(job.code),
                _units.duration((job.ended_at or time.time()) - job.begun_at),
                _short(job),
            ]
            for job in found
        ],
    )


def _states(api: CloreAI, kept: Jobs, running: list[Job]) -> dict[int, str]:
    """What those that are not over do now, as far as it can be told in some seconds."""
    if not running:
        return {}
    from clore_ai.jobs.look import now  # noqa: PLC0415 - not for --help

    watched = {job.id: "watched" for job in running if kept.watched(job.id)}
    rest = [job for job in running if job.id not in watched]
    return {**watched, **api.in_loop(lambda engine: now(engine, kept, rest))}


def _short(job: Job) -> str:
    line = " ".join(" ".join(job.command).split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
