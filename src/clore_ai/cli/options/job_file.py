"""`clore.toml`: the options of `clore run` in a file of the working folder; flags win.

The file of this folder may be a stranger's, as of a repository that was cloned: it is opened only
where it is a regular file of the folder, is read up to a bound, and what it may say without being
named with ``--file`` is `job_file_trust`'s.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

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
        text = raw.decode("utf-8")
    except FileNotFoundError:
        if given is None:
            return None
        raise click.UsageError(f"--file {path}: there is no such file.") from None
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise click.UsageError(f"{path} can't be read: {why}.") from exc
    if len(raw) > _LONGEST:
        raise click.UsageError(f"{path} is over {_LONGEST // 1024} kB; a job file is shorter.")
    values, lines = _values(ctx, path, toml_options.parsed(path, text))
    ctx.default_map = {**(ctx.default_map or {}), **values}
    if given is None:
        ctx.meta[job_file_trust.LINES] = lines
    return path


def _bytes(path: Path, *, named: bool) -> bytes:
    """The file's content, as far as one byte beyond the bound.

    One that was named may be anything, as ``<(…)`` is; the folder's own is no FIFO or device to
    wait for, and no link to a file that is not the folder's.
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


def _values(
    ctx: click.Context, path: Path, content: dict[str, Any]
) -> tuple[dict[str, Any], job_file_trust.Lines]:
    """The values by the options' names, and each as it stands in the file."""
    known = toml_options.known(ctx.command, job_file_trust.NEVER)
    found: dict[str, Any] = {}
    lines: job_file_trust.Lines = {}
    for key, value in content.items():
        if key == _COMMAND:
            ctx.meta[NAME] = _words(path, value)
            lines[job_file_trust.WORDS] = (key, value)
            continue
        option = toml_options.find(path, key, known, _COMMAND)
        if value is False and isinstance(option.flag_value, str):
            continue
        name = str(option.name)
        found[name] = toml_options.value(path, key, option, value)
        lines[name] = (key, found[name] if option.multiple else value)
    return found, lines


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
    """The file's `command`, where there is one."""
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
