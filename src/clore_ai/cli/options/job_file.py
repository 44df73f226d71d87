"""`clore.toml`: the options of `clore run` in a file of the working folder; flags win.

Unless the file was named with ``--file``, `job_file_trust` decides what it may set.
"""

from __future__ import annotations

from pathlib import Path

import click

from clore_ai.cli.errors import as_usage
from clore_ai.cli.options import from_table, job_file_trust
from clore_ai.jobs.job_file import COMMAND, NAME, command, read


def _read(ctx: click.Context, _option: click.Parameter, given: Path | None) -> Path | None:
    """Make the file's values the defaults of the command's options."""
    path = given or Path(NAME)
    with as_usage():
        content = read(given)
        if content is None:
            return None
        lines: job_file_trust.Lines = {}
        if COMMAND in content:
            ctx.meta[NAME] = command(path, content[COMMAND])
            lines[job_file_trust.WORDS] = (COMMAND, content[COMMAND])
        found = from_table(path, content, ctx.command, job_file_trust.NEVER, COMMAND)
    ctx.default_map = {**(ctx.default_map or {}), **{n: value for n, (_, value) in found.items()}}
    if given is None:  # each value as the file has it
        for name, (key, value) in found.items():
            lines[name] = (key, value if isinstance(value, list) else content[key])
        place = list(content).index
        ctx.meta[job_file_trust.LINES] = dict(sorted(lines.items(), key=lambda at: place(at[1][0])))
    return path


def words() -> tuple[str, ...]:
    """The file's `command`, if it has one."""
    found: tuple[str, ...] = click.get_current_context().meta.get(NAME, ())
    return found


option = click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    is_eager=True,
    expose_value=False,
    callback=_read,
    help=f"Job file with these options; default: {NAME}, if it exists.",
)
