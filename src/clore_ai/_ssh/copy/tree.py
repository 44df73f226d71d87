"""Writes below one local folder and nowhere else, whatever the names and links in it.

Each component of a path is opened by itself, relative to the one before, and no link is followed. A
file is written beside its place and renamed, so that nobody reads half of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from typing_extensions import Self

if sys.platform != "win32":  # which fetches nothing
    _FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    _NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    _READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK = 1 << 20
_PART = re.compile(rb"\.clore-[0-9a-f]{16}\.part")
_LEFT_BEHIND_S = 24 * 3600.0
MODE = 0o755
"""The bits of a mode that are kept: no set-id, no sticky bit, and only the user may write."""


MOST_FOLDERS = 100_000
"""The most folders that one fetch may create, parents included: each takes disk space."""


class InTheWayError(Exception):
    """Something in the way is not replaced: a folder in a file's place, or a link above it."""


class Tree:
    """The files below `root`; to be closed.

    Args:
        root: a folder; its own path may contain links, which the user made.
        own: folders below it that are the user's own: a link in their place is not replaced.
    """

    def __init__(
        self, root: str | os.PathLike[str], own: Collection[tuple[bytes, ...]] = ()
    ) -> None:
        self._own = {each[:depth] for each in own for depth in range(1, len(each) + 1)}
        self._open: list[tuple[bytes, int]] = []
        self._made = 0
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._swept: set[tuple[bytes, ...]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._leave(0)
        os.close(self._root)

    def folder(self, names: tuple[bytes, ...]) -> None:
        """Create a folder, with its parents.

        Raises:
            InTheWayError: something else is in its place.
            OSError: it can't be created.
        """
        self._enter(names, make=True)

    def state(self, names: tuple[bytes, ...]) -> os.stat_result | None:
        """The current state of a path; None if it does not exist. Links are not followed."""
        try:
            place = self._enter(names[:-1], make=False)
            _is_one(names[-1])
            return os.stat(names[-1], dir_fd=place, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError, InTheWayError):
            return None

    def reader(self, names: tuple[bytes, ...]) -> int:
        """A regular file, open to be read.

        Raises:
            OSError, InTheWayError: it does not exist.
        """
        _is_one(names[-1])
        file = os.open(names[-1], _READ, dir_fd=self._enter(names[:-1], make=False))
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise InTheWayError("not a regular file")
        return file

    def write(
        self, names: tuple[bytes, ...], pieces: Iterable[bytes], mode: int, mtime_ns: int
    ) -> None:
        """Atomically replace a file by one with this content.

        Raises:
            InTheWayError: a link or a file is in place of a parent, or a folder in its own place.
            OSError: it can't be written. The old file is kept.
        """
        _is_one(names[-1])
        place = self._enter(names[:-1], make=True)
        self._sweep(names[:-1], place)
        part = _part()
        file = os.open(part, _NEW, mode & MODE | 0o600, dir_fd=place)
        try:
            try:
                for piece in pieces:
                    left = memoryview(piece)
                    while left:
                        left = left[os.write(file, left) :]
                _set_time(file, mtime_ns)
            finally:
                os.close(file)
            _rename(part, names[-1], place)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part, dir_fd=place)
            raise

    def link(self, names: tuple[bytes, ...], goal: bytes, mtime_ns: int) -> None:
        """Atomically replace a file by a symbolic link.

        Raises:
            InTheWayError, OSError: as for `write`.
        """
        _is_one(names[-1])
        place, part = self._enter(names[:-1], make=True), _part()
        os.symlink(goal, part, dir_fd=place)
        try:
            with contextlib.suppress(OSError, OverflowError, NotImplementedError):
                os.utime(part, ns=(mtime_ns, mtime_ns), dir_fd=place, follow_symlinks=False)
            _rename(part, names[-1], place)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part, dir_fd=place)
            raise

    def _enter(self, names: tuple[bytes, ...], *, make: bool) -> int:
        """The folder, open; its parents stay open, for the next path nearby."""
        for name in names:
            _is_one(name)
        same = 0
        while same < min(len(names), len(self._open)) and self._open[same][0] == names[same]:
            same += 1
        self._leave(same)
        for depth, name in enumerate(names[same:], same):
            above = self._open[-1][1] if self._open else self._root
            own = names[: depth + 1] in self._own
            self._open.append((name, self._step(above, name, make=make, own=own)))
        return self._open[-1][1] if self._open else self._root

    def _step(self, above: int, name: bytes, *, make: bool, own: bool) -> int:
        try:
            return os.open(name, _FOLDER, dir_fd=above)
        except FileNotFoundError:
            if not make:
                raise
        except OSError as exc:
            if exc.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            if own or not make:
                raise InTheWayError("a file or a link is in the place of its folder") from exc
            os.unlink(name, dir_fd=above)  # below an output: it was fetched, and is now gone there
        self._made += 1
        if self._made > MOST_FOLDERS:
            raise InTheWayError("there are too many folders")
        os.mkdir(name, MODE, dir_fd=above)
        return os.open(name, _FOLDER, dir_fd=above)

    def _leave(self, depth: int) -> None:
        while len(self._open) > depth:
            os.close(self._open.pop()[1])

    def _sweep(self, names: tuple[bytes, ...], place: int) -> None:
        """Remove the remains of a killed fetch that are at least a day old."""
        if names in self._swept:
            return
        self._swept.add(names)
        for name in os.listdir(place):
            if _PART.fullmatch(os.fsencode(name)):
                with contextlib.suppress(OSError):
                    found = os.stat(name, dir_fd=place, follow_symlinks=False)
                    if time.time() - found.st_ctime > _LEFT_BEHIND_S:
                        os.unlink(name, dir_fd=place)


def names_of(path: bytes) -> tuple[bytes, ...]:
    """The components of a path below the root, which is ``.``."""
    return () if path == b"." else tuple(path.split(b"/"))


def is_part(name: bytes) -> bool:
    """Is it a name under which files are written before they are renamed?"""
    return _PART.fullmatch(name) is not None


def _is_one(name: bytes) -> None:
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        raise InTheWayError("the path leads out of the folder")


def _part() -> bytes:
    return b".clore-" + secrets.token_hex(8).encode() + b".part"


def _rename(part: bytes, name: bytes, place: int) -> None:
    try:
        os.rename(part, name, src_dir_fd=place, dst_dir_fd=place)
    except OSError as exc:
        if exc.errno in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST):
            raise InTheWayError("a local folder is in its place") from exc
        raise


def _set_time(file: int, mtime_ns: int) -> None:
    with contextlib.suppress(OSError, OverflowError):  # the file system can't store this time
        os.utime(file, ns=(mtime_ns, mtime_ns))
