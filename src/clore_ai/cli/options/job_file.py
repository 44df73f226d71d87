"""`clore.toml`: the options of `clore run` in a file of the working folder; flags win.

The file in this folder may come from a stranger, for example in a cloned repository. It is opened
only if it is a regular file of the folder, and is read up to a maximum size. Unless it was named
with ``--file``, `job_file_trust` decides what it may set.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import click

from clore_ai._values.kinds import as_list
from clore_ai.cli.options import job_file_trust, toml_options

NAME = "clore.toml"
_COMMAND = "command"
_LONGEST = 16 * 1024
"""Bytes. Python's TOML parser takes 20 s for 64 kB of one dotted key, and 1 s for this."""


def _read(ctx: click.Context, _option: click.Parameter, given: Path | None) -> Path | None:
    """Make the file's values the defaults of the command's options."""
    path = given or Path(NAME)
    try:
        raw = _bytes(path, named=given is not None)
    except FileNotFoundError:
        if given is None:
            return None
        raise click.UsageError(f"--file {path}: there is no such file.") from None
    except OSError as exc:
        raise click.UsageError(f"{path} can't be read: {exc.strerror}.") from exc
    if len(raw) > _LONGEST:
        raise click.UsageError(f"{path} is over {_LONGEST // 1024} kB; a job file is shorter.")
    content = toml_options.parsed(path, raw)
    lines: job_file_trust.Lines = {}
    if _COMMAND in content:
        ctx.meta[NAME] = _words(path, content[_COMMAND])
        lines[job_file_trust.WORDS] = (_COMMAND, content[_COMMAND])
    found = toml_options.read(path, content, ctx.command, job_file_trust.NEVER, _COMMAND)
    ctx.default_map = {**(ctx.default_map or {}), **{n: value for n, (_, value) in found.items()}}
    if given is None:  # each value as the file has it
        for name, (key, value) in found.items():
            lines[name] = (key, value if isinstance(value, list) else content[key])
        place = list(content).index
        ctx.meta[job_file_trust.LINES] = dict(sorted(lines.items(), key=lambda at: place(at[1][0])))
    return path


def _bytes(path: Path, *, named: bool) -> bytes:
    """The file's content, up to one byte beyond the maximum size.

    A named file may be of any kind, such as ``<(…)``. The folder's own must not be a FIFO or a
    device, which could block, nor a link to a file outside the folder.
    """
    if named:
        with path.open("rb") as file:
            return file.read(_LONGEST + 1)
    if path.is_symlink() and Path.cwd().resolve() not in Path(os.path.realpath(path)).parents:
        raise click.UsageError(
            f"{path} is a link out of this folder. If you trust it, name it: --file {path}."
        )
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise click.UsageError(f"{path} is not a regular file. Name another: --file FILE.")
        return file.read(_LONGEST + 1)


def _words(path: Path, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    words = [word for word in as_list(value) or [] if isinstance(word, str)]
    if words and words == value:
        return tuple(toml_options.typed(path, _COMMAND, word) for word in words)
    raise click.UsageError(
        f'{path}: command must be a string or a list of strings: ["python", "train.py"].'
    )


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
