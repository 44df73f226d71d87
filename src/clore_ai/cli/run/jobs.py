"""`clore jobs`: lists jobs and their states."""

from __future__ import annotations

import time

import click

from clore_ai._values.lengths import duration
from clore_ai._values.text import plain
from clore_ai.cli import other_keys, output
from clore_ai.cli.account import connect
from clore_ai.jobs import Jobs, status
from clore_ai.jobs.supervise import background

_SHOWN = 40


@click.command()
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True,
              help="Number of latest jobs to show.")  # fmt: skip
@output.json_option
def command(limit: int, as_json: bool) -> None:
    """List your running and finished jobs.

    "watched" means that a clore process on this machine follows the job. "done", "died" and "gone"
    mean that the job or its order has ended, but its outputs are not fetched and its machine is not
    cancelled yet. A background process takes over these jobs, and running jobs that are not
    watched.
    """
    with connect(ask=False) as api:
        kept = Jobs.of(api.session)
        for sentence in kept.damaged():
            output.note(sentence)
        found = api.in_loop(lambda engine: status.listed(engine, limit))
        for sentence in background.take_over(kept, found):
            output.note(sentence)
        if not found:
            other_keys.note(api)
    if as_json:
        output.data([job.row(standing) for job, standing in found])
        return
    if not found:
        output.note("No jobs yet. Run one with: clore run")
        return
    output.rows(
        found,
        {
            ">ID": lambda row: row[0].id,
            ">Order": lambda row: row[0].order_id or None,
            "State": lambda row: f"{row[1]} ({row[0].why})" if row[0].why else row[1],
            ">Exit": lambda row: row[0].code,
            ">Time": lambda row: duration((row[0].ended_at or time.time()) - row[0].begun_at),
            "Command": lambda row: plain(" ".join(row[0].command), _SHOWN),
        },
    )
