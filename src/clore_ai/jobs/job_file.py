"""`clore.toml`: the command and the options of a job, in a file of the working folder.

The file in this folder may come from a stranger, for example in a cloned repository. It is opened
only if it is a regular file of the folder, and is read up to a maximum size.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from clore_ai._values import toml
from clore_ai._values.kinds import as_list
from clore_ai.exceptions import InvalidInputError

NAME = "clore.toml"
COMMAND = "command"
_LONGEST = 16 * 1024
"""Bytes. Python's TOML parser takes 20 s for 64 kB of one dotted key, and 1 s for this."""


def read(path: Path | None = None) -> dict[str, Any] | None:
    """The content of a job file that the user named, or of this folder's own; None without one.

    Raises:
        InvalidInputError: it can't be read; a file that the user named does not exist.
    """
    try:
        raw = _folder_file() if path is None else _named(path)
    except FileNotFoundError:
        if path is None:
            return None
        raise InvalidInputError(f"--file {path}: there is no such file.") from None
    except OSError as exc:
        raise InvalidInputError(f"{path or NAME} can't be read: {exc.strerror}.") from exc
    if len(raw) > _LONGEST:
        limit = f"{_LONGEST // 1024} kB"
        raise InvalidInputError(f"{path or NAME} is over {limit}; a job file is shorter.")
    try:
        return toml.parsed(path or NAME, raw)
    except ValueError as exc:
        raise InvalidInputError(str(exc)) from exc


def _named(path: Path) -> bytes:
    """The content up to one byte beyond the maximum; the file may be of any kind, as ``<(…)``."""
    with path.open("rb") as file:
        return file.read(_LONGEST + 1)


def _folder_file() -> bytes:
    """As `_named`; not of a FIFO or a device, which could block, nor of a link to elsewhere."""
    path = Path(NAME)
    if path.is_symlink() and Path.cwd().resolve() not in Path(os.path.realpath(path)).parents:
        raise InvalidInputError(
            f"{path} is a link out of this folder. If you trust it, name it: --file {path}."
        )
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise InvalidInputError(f"{path} is not a regular file. Name another: --file FILE.")
        return file.read(_LONGEST + 1)


def command(path: object, value: object) -> tuple[str, ...]:
    """The words of the key `COMMAND`.

    Raises:
        InvalidInputError: it is neither a text nor a list of texts.
    """
    if isinstance(value, str):
        value = [value]
    words = [word for word in as_list(value) or [] if isinstance(word, str)]
    if not words or words != value:
        raise InvalidInputError(
            f'{path}: command must be a string or a list of strings: ["python", "train.py"].'
        )
    try:
        return tuple(toml.typed(path, COMMAND, word) for word in words)
    except ValueError as exc:
        raise InvalidInputError(str(exc)) from exc
