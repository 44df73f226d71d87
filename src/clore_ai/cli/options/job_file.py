"""`clore.toml`: the options of `clore run` in a file of the working folder; flags win.

The file of this folder may be a stranger's, as of a repository that was cloned: it is opened only
where it is a regular file of the folder, is read up to a bound, and what it may say without being
named with ``--file`` is `job_file_trust`'s.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from clore_ai._values.kinds import as_dict, as_list
from clore_ai._values.text import plain
from clore_ai.cli.options import job_file_trust

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
    parser: Any = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        content: dict[str, Any] = parser.loads(text)
    except (ValueError, RecursionError) as exc:
        why = "it is nested too deep" if isinstance(exc, RecursionError) else plain(str(exc))
        raise click.UsageError(f"{path} is not valid TOML: {why}.") from exc
    values, lines = _values(ctx, path, content)
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
    known = _known(ctx.command)
    found: dict[str, Any] = {}
    lines: job_file_trust.Lines = {}
    for key, value in content.items():
        if key == _COMMAND:
            ctx.meta[NAME] = _words(path, value)
            lines[job_file_trust.WORDS] = (key, value)
            continue
        option = known.get(key.replace("_", "-"))
        if option is None:
            raise click.UsageError(_unknown(path, key, [*known, _COMMAND]))
        if value is False and isinstance(option.flag_value, str):
            continue
        name = str(option.name)
        found[name] = _value(path, key, option, value)
        lines[name] = (key, found[name] if option.multiple else value)
    return found, lines


def _known(command: click.Command) -> dict[str, click.Option]:
    """The options by the names that they have in the file."""
    return {
        word[2:]: option
        for option in command.params
        if isinstance(option, click.Option) and option.name not in job_file_trust.NEVER
        for word in option.opts
        if word.startswith("--") and option.expose_value
    }


def _unknown(path: Path, key: str, known: list[str]) -> str:
    from difflib import get_close_matches

    key = plain(key)
    near = get_close_matches(key.replace("_", "-"), known, 1, 0.5)
    hint = f" Did you mean {near[0]!r}?" if near else f" It may hold: {', '.join(sorted(known))}."
    return f"{path}: there is no option {key!r}.{hint}"


def _words(path: Path, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    words = [word for word in as_list(value) or [] if isinstance(word, str)]
    if words and words == value:
        return tuple(_typed(path, _COMMAND, word) for word in words)
    raise click.UsageError(
        f'{path}: command must be a string or a list of strings: ["python", "train.py"].'
    )


def _value(path: Path, key: str, option: click.Option, value: object) -> object:
    """As click takes it: a text or a number as it would be typed, a list where it is repeatable."""
    if option.multiple:
        entries, several = as_dict(value), as_list(value)
        if entries is not None:
            return [f"{name}={_typed(path, key, each)}" for name, each in entries.items()]
        return [_typed(path, key, each) for each in ([value] if several is None else several)]
    if option.is_flag:
        if not isinstance(value, bool):
            raise click.UsageError(f"{path}: {key} must be true or false.")
        # One of several flags of one name, e.g. --spot, has a word of its own.
        return option.flag_value if value and isinstance(option.flag_value, str) else value
    return _typed(path, key, value)


def _typed(path: Path, key: str, value: object) -> str:
    shown = "this"
    with suppress(ValueError, RecursionError):  # thousands of digits; thousands of levels
        shown = plain(repr(value))
        # No command line can hold a NUL either.
        typed = isinstance(value, (str, int, float)) and not isinstance(value, bool)
        if typed and "\0" not in (text := str(value)):
            return text
    raise click.UsageError(f"{path}: {key} can't be {shown}; write it as with --{key}.")


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
