"""The state folder and its files: readable by the user alone, and regular files."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import BinaryIO

from clore_ai.exceptions import ConfigError


def state_folder() -> Path:
    """``CLORE_HOME``, else ``~/.clore``. It may not exist yet."""
    home = os.environ.get("CLORE_HOME")
    try:
        return Path(home).expanduser() if home else Path.home() / ".clore"
    except (KeyError, RuntimeError) as exc:  # no home folder, as in some containers; 3.9: KeyError
        raise ConfigError("There is no home folder; set CLORE_HOME to a folder.") from exc


def folder_of(state: str | Path | bool | None) -> Path | None:
    """The folder that a client's `state` names: a path, or True for `state_folder`."""
    if state is None or state is False:
        return None
    return state_folder() if state is True else Path(state).expanduser()


def private_folder(path: Path) -> Path:
    """Create `path`, a folder that only the user can enter."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)
    return path


def folder_for(name: str) -> Path:
    """A folder in the state folder, created if missing.

    Raises:
        ConfigError: it can't be created.
    """
    return folder_in(state_folder(), name)


def folder_in(home: Path, name: str) -> Path:
    """As `folder_for`, in another state folder."""
    try:
        return private_folder(private_folder(home) / name)
    except OSError as exc:
        raise ConfigError(unwritable(home, exc)) from exc


def unwritable(home: Path, exc: OSError) -> str:
    """A sentence on a state folder that can't be written."""
    return (
        f"The state folder {home} can't be written ({exc.strerror}); set CLORE_HOME to another "
        "folder."
    )


def open_private(path: Path) -> BinaryIO:
    """Open a file of ours for reading, but no pipe or device, which have no end.

    Raises:
        OSError: it can't be opened, or is not a file.
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb")
    try:
        regular(file.fileno())
    except OSError:
        file.close()
        raise
    return file


def read_private(path: Path, most: int = 1 << 20) -> bytes:
    """The content of a file of ours; as `open_private`, and OSError if it exceeds `most`."""
    with open_private(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return content


def regular(file: int) -> None:
    """Raise OSError if an open file is a device or a pipe."""
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise OSError(errno.EINVAL, "it is not a file")


def write_private(path: Path, text: str) -> None:
    """Atomically replace `path` by a file that only the user can read."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:  # mkstemp creates it with mode 0600
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
