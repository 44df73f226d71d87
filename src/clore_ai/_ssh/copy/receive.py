"""The only way in which files are fetched from a rented machine: a tar stream, read by member.

The machine is a stranger's, and so is every byte of the stream. Only requested files are taken, by
their exact names, and only their content and the harmless bits of their mode. The size of a header,
the number of members, and the size of each and of all are bounded.
"""

from __future__ import annotations

import os
import stat
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, cast

from clore_ai._ssh.copy.gate import stays_inside
from clore_ai._ssh.copy.listing import Entry, bare
from clore_ai._ssh.copy.tree import InTheWayError, Tree, names_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


_LONGEST_HEADER = 1 << 14
_CHUNK = 1 << 20
_MORE_MEMBERS = 1000
_SPARE = 1 << 24
"""Bytes of headers and padding that a stream may hold, plus `_SPARE_EACH` per file."""
_SPARE_EACH = 1 << 13


class BadStreamError(Exception):
    """The stream is not an archive of the requested files."""


class TooMuchError(Exception):
    """The stream exceeds a limit."""


@dataclass
class Received:
    """The received files. `refused`: the reasons, by name."""

    files: int = 0
    size: int = 0
    refused: dict[bytes, str] = field(default_factory=dict[bytes, str])
    came: set[bytes] = field(default_factory=set[bytes])


@dataclass(frozen=True)
class Wanted:
    """A requested file: its entry in the listing, its output and its local name."""

    entry: Entry
    top: bytes
    here: bytes
    mtime_ns: int
    """The time that the local file gets."""


def receive(
    read: Callable[[int], bytes],
    tree: Tree,
    wanted: Mapping[bytes, Wanted],
    most: int,
    came: Received,
) -> None:
    """Write the files of a tar stream below `tree`.

    Args:
        read: reads at most this many bytes of the stream; empty at its end.
        tree: the local files.
        wanted: the requested files, by their names in the stream.
        most: the most bytes that they may hold.
        came: records the received files, even if an error ends it.

    Raises:
        BadStreamError: it is not a tar stream, or is cut short. Files until then are kept.
        TooMuchError: they hold more than `most`. Likewise.
        OSError: a local file can't be written. Likewise.
    """
    stream = _Stream(read, most + _SPARE + _SPARE_EACH * len(wanted))
    try:
        # Several archives may follow each other, each with zeros at its end.
        archive = tarfile.TarFile(
            fileobj=cast("Any", stream),
            ignore_zeros=True,
            encoding="utf-8",
            errors="surrogateescape",
        )
        for _ in range(2 * len(wanted) + _MORE_MEMBERS):
            stream.in_header = True
            member = archive.next()
            if member is None:
                return
            vars(archive)["members"].clear()  # else they accumulate
            stream.in_header = False
            _take(member, stream, tree, wanted, most, came)
    except (tarfile.TarError, RecursionError, UnicodeError, ValueError, OverflowError) as exc:
        if stream.over and not stream.bytes_read:
            return
        raise BadStreamError("it is damaged") from exc
    raise BadStreamError("it holds more files than requested")


def _take(
    member: tarfile.TarInfo,
    stream: _Stream,
    tree: Tree,
    wanted: Mapping[bytes, Wanted],
    most: int,
    came: Received,
) -> None:
    name = bare(os.fsencode(member.name))
    want = wanted.get(name)
    if member.size < 0 or want is None or name in came.came:
        return  # not requested; its content is skipped
    names = names_of(want.here)
    mtime_ns = want.mtime_ns
    try:
        if member.issym():
            goal = os.fsencode(member.linkname)
            if not stays_inside(want.here, goal, want.top):
                came.refused[name] = "a link that leads out of its output"
                return
            tree.link(names, goal, mtime_ns)
        elif member.isreg() and not member.issparse():
            if came.size + member.size > most:
                raise TooMuchError
            tree.write(names, stream.content(member.size), member.mode, mtime_ns)
            came.size += member.size
        elif member.islnk():
            came.size += _copy(member, tree, names, wanted, most - came.size, came, mtime_ns)
        else:
            came.refused[name] = "not a file, folder or link"
            return
    except InTheWayError as exc:
        came.refused[name] = str(exc)
        return
    came.came.add(name)
    came.files += 1


def _copy(
    member: tarfile.TarInfo,
    tree: Tree,
    names: tuple[bytes, ...],
    wanted: Mapping[bytes, Wanted],
    most: int,
    came: Received,
    mtime_ns: int,
) -> int:
    """A hard link to a file that this stream brought; it becomes a file of its own."""
    other = bare(os.fsencode(member.linkname))
    first = wanted.get(other)
    if first is None or other not in came.came:
        raise InTheWayError("a hard link to a file that was not sent")
    try:
        file = tree.reader(names_of(first.here))
    except OSError as exc:
        raise InTheWayError("a hard link to a file that is missing here") from exc
    with os.fdopen(file, "rb") as source:
        info = os.fstat(file)
        if info.st_size > most:
            raise TooMuchError
        tree.write(names, iter(lambda: source.read(_CHUNK), b""), info.st_mode, mtime_ns)
        return info.st_size


class _Stream:
    """The stream that `tarfile` reads: forward only, and no header of more than some kilobytes."""

    def __init__(self, read: Callable[[int], bytes], most: int) -> None:
        self._read, self._most = read, most
        self.bytes_read = 0
        self.in_header = True
        self.over = False

    def tell(self) -> int:
        return self.bytes_read

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or position < self.bytes_read:
            raise BadStreamError("it seeks backwards")
        for _ in self.content(position - self.bytes_read):
            pass
        return self.bytes_read

    def read(self, size: int = -1) -> bytes:
        """Reads a header in full, except at the end of the stream."""
        if size < 0 or (self.in_header and size > _LONGEST_HEADER):
            raise BadStreamError("a header is too long")
        pieces: list[bytes] = []
        while size > 0 and (piece := self._next(size)):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def content(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes, piece by piece."""
        while size > 0:
            piece = self._next(min(size, _CHUNK))
            if not piece:
                raise BadStreamError("it is cut short")
            size -= len(piece)
            yield piece

    def _next(self, size: int) -> bytes:
        piece = self._read(size)
        self.bytes_read += len(piece)
        self.over = self.over or not piece
        if self.bytes_read > self._most:
            raise TooMuchError
        return piece


def is_same(found: os.stat_result | None, entry: Entry) -> bool:
    """Is the local file the one that the machine lists, by kind, size and time?"""
    if found is None or stat.S_IFMT(found.st_mode) != stat.S_IFMT(entry.mode):
        return False
    return found.st_mtime_ns == entry.mtime_ns and (entry.is_link or found.st_size == entry.size)
