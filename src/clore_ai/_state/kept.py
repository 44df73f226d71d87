"""Where a small state is kept: in memory, or in a file that all processes of this machine share.

Both give it for an instant, to one at a time; Ctrl-C takes effect before or after. May do no
network I/O.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import threading
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Callable, Generic, TypeVar, Union

from clore_ai._interrupts import deferred
from clore_ai._state.folder import private_folder
from clore_ai._state.lock import FileLock
from clore_ai._values.kinds import as_dict
from clore_ai.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

T = TypeVar("T")

_MOST_PIECES = 64
"""Of 64 KiB each: what is kept here is a few of them at most."""


def file_of(folder: Path | None, what: str, of: str) -> Path | None:
    """Where a state folder keeps what processes of this machine share of a key or a marketplace.

    The machine is in the name: a home may be on several, and each has a clock of its own.
    """
    machine = re.sub(r"[^\w.-]", "_", platform.node())
    return folder and folder / "shared" / f"{what}-{of}-{machine}.json"


class Memory(Generic[T]):
    """It lives as long as this object."""

    def __init__(self, value: T) -> None:
        self._value = value
        self._lock = threading.Lock()

    @contextmanager
    def open(self) -> Generator[T, None, None]:
        """The state; what is changed in it stays."""
        with deferred(), self._lock:  # who has it does not wait
            yield self._value


class File(Generic[T]):
    """One JSON value in a file of mode 0600; its folder is made where it is not there.

    `load` makes the state of it, and is given None where the file is new, {} where it is damaged.
    """

    def __init__(
        self, path: Path, load: Callable[[object], T], dump: Callable[[T], object]
    ) -> None:
        self._path, self._load, self._dump = path, load, dump

    @contextmanager
    def open(self) -> Generator[T, None, None]:
        """The state; what is changed in it is written at the end.

        Raises:
            ConfigError: the file can't be read or written.
        """
        try:
            for folder in (self._path.parent.parent, self._path.parent):
                if not folder.is_dir():
                    private_folder(folder)
        except OSError as exc:
            raise self._unusable(exc) from exc
        with FileLock(self._path).held() as file:
            try:
                before = _read(file)
            except OSError as exc:
                raise self._unusable(exc) from exc
            try:
                value: object = json.loads(before) if before else None
            except (ValueError, RecursionError):
                value = {}
            state = self._load(value)
            yield state
            after = json.dumps(self._dump(state)).encode()
            try:
                if after != before:
                    _write(file, after)
            except OSError as exc:
                raise self._unusable(exc) from exc

    def _unusable(self, exc: OSError) -> ConfigError:
        return ConfigError(
            f"{self._path} can't be read or written ({exc.strerror}); name another folder with "
            "CLORE_HOME."
        )


Kept = Union[Memory[T], File[T]]


def _read(file: int) -> bytes:
    """Its content; of a monster the beginning, which is damaged then."""
    os.lseek(file, 0, os.SEEK_SET)
    return b"".join(islice(iter(lambda: os.read(file, 1 << 16), b""), _MOST_PIECES))


def _write(file: int, content: bytes) -> None:
    """In place: the lock is on this very file. Who is killed here leaves a damaged one."""
    os.lseek(file, 0, os.SEEK_SET)
    if os.write(file, content) < len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.ftruncate(file, len(content))


def records(path: Path | None) -> Kept[dict[str, Any]]:
    """Records by name, in memory or in a file."""
    if path is None:
        return Memory({})
    return File(
        path, lambda kept: {k: v for k, v in (as_dict(kept) or {}).items() if as_dict(v)}, dict
    )
