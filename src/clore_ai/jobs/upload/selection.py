"""Selects the files of a folder that are uploaded.

If git is installed, it says what is ignored; without it everything is uploaded, unless there is an
ignore file. Either way each path is checked here first: only files and symbolic links, links as
links and never followed, nothing that is private by its name, no state folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from clore_ai._values.text import plain
from clore_ai.exceptions import InvalidInputError
from clore_ai.jobs.upload import git, places, private

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_IGNORES = (b".gitignore", b".cloreignore")
_LEFT_OUT = [os.fsencode(each) for each in private.LEFT_OUT]


def files(folder: Path, without: Sequence[str] = (), home: Path | None = None) -> list[bytes]:
    """The files' paths below `folder`, sorted; symbolic links as links, no folders.

    Args:
        folder: the working folder.
        without: folders and files in it that stay here and are not looked into: the outputs of the
            job.
        home: the state folder in use, if it is not the usual one.

    Raises:
        InvalidInputError: the folder can't be read, or it has an ignore file and git is missing.
    """
    folder = folder.resolve()
    shut = [os.fsencode(os.path.normpath(each)) for each in without]
    takes = _Takes(folder, shut, home)
    try:
        if shutil.which("git"):
            found = [path for path in git.listed(folder, shut) if takes(path)]
        else:
            found = [path for path in _walked(folder, takes) if takes(path)]
    except OSError as exc:
        raise InvalidInputError(
            f"The working folder can't be read: {exc.filename}: {exc.strerror}."
        ) from exc
    return sorted(found)


def below(folder: Path, outputs: Sequence[str], home: Path | None = None) -> list[bytes]:
    """All files of these folders, ignored ones too; nothing behind a link, and nothing private."""
    folder = folder.resolve()
    takes = _Takes(folder, (), home)
    found: set[bytes] = set()
    for each in outputs:
        top = os.fsencode(os.path.normpath(each))
        found |= {path for path in (top, *_below(folder, top, takes)) if takes(path)}
    return sorted(found)


class _Takes:
    """May this path be uploaded? Each folder is checked once."""

    def __init__(self, folder: Path, shut: Sequence[bytes], home: Path | None) -> None:
        self._base, self._name = os.fsencode(os.path.join(folder, "")), os.fsencode(folder.name)
        self._shut = frozenset(shut)
        self._homes = {places.same(each) for each in places.homes(home)} - {None}
        self._open = {b"": True}

    def __call__(self, path: bytes) -> bool:
        if path[:1] == b"/" or b"//" in path:  # an index may hold any name
            return False
        above, _, name = path.rpartition(b"/")
        if not self.enters(above) or self._private(above, name) or path in self._shut:
            return False
        try:
            mode = os.lstat(self._base + path).st_mode
        except OSError:  # tracked by git, but removed
            return False
        return stat.S_ISREG(mode) or stat.S_ISLNK(mode)

    def enters(self, place: bytes) -> bool:
        """May files of this folder be uploaded?"""
        unknown: list[bytes] = []
        while place not in self._open:
            unknown.append(place)
            place = place.rpartition(b"/")[0]
        known = self._open[place]
        for each in reversed(unknown):
            known = known and self._passes(each)
            self._open[each] = known
        return known

    def _passes(self, place: bytes) -> bool:
        above, _, name = place.rpartition(b"/")
        if self._private(above, name) or place in self._shut:
            return False
        try:
            found = os.lstat(self._base + place)
        except OSError:
            return False
        return stat.S_ISDIR(found.st_mode) and (found.st_dev, found.st_ino) not in self._homes

    def _private(self, above: bytes, name: bytes) -> bool:
        """Is it private by its name, or not a name at all?"""
        if name in (b"", b".", b".."):
            return True
        return private.never(above.rpartition(b"/")[2] or self._name, name)


def _walked(folder: Path, takes: _Takes) -> Iterator[bytes]:
    """Every file; without git, nothing reads the ignore files."""
    for path in _below(folder, b"", takes):
        parts = path.split(b"/")
        if any(fnmatchcase(part, each) for part in parts for each in _LEFT_OUT):
            continue
        if parts[-1] in _IGNORES:
            name = plain(os.fsdecode(os.path.join(os.fsencode(folder), path)))
            raise InvalidInputError(
                f"{name} says what to leave out, but git, which reads it, is not installed. "
                "Install it: apt-get install git"
            )
        yield path


def _below(folder: Path, top: bytes, takes: _Takes) -> Iterator[bytes]:
    """The files in this folder and below it, without folders; unreadable ones are omitted."""
    base = os.fsencode(folder)
    left = [top]
    while left:
        place = left.pop()
        if not takes.enters(place):
            continue
        try:
            entries = list(os.scandir(os.path.join(base, place)))
        except PermissionError:
            continue
        for entry in entries:
            path = os.path.join(place, entry.name)
            if entry.is_dir(follow_symlinks=False):
                left.append(path)
            else:
                yield path


def list_name(folder: Path) -> str:
    """The name of the file that lists what was sent from this folder."""
    return "sent-" + hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
