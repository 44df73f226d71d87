"""Packs local files into a compressed tar stream that any tar can read."""

from __future__ import annotations

import os
import stat
import sys
import tarfile
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

if sys.platform != "win32":  # which uploads nothing
    _READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK = 1 << 18
_BLOCK = 512
_GZIP = 31
"""zlib's word for a gzip header around the largest window."""
_FAST = 1
MODE = 0o755
"""The bits of a file's mode that are sent."""


def stream(
    folder: str | os.PathLike[str], files: Iterable[tuple[bytes, bytes]], *, links: bool = True
) -> Iterator[bytes]:
    """The archive, piece by piece.

    Files that have disappeared are omitted, as is everything but files, folders and links. Of a
    file that grows, the first bytes are sent; one that shrinks is padded with zeros. Both count as
    changed the next time.

    Args:
        folder: the local folder.
        files: paths below it, and their names in the archive.
        links: send links as links; else the files that they lead to.
    """
    packer = zlib.compressobj(_FAST, zlib.DEFLATED, _GZIP)
    for piece in _blocks(os.fsencode(folder), files, links=links):
        packed = packer.compress(piece)
        if packed:
            yield packed
    yield packer.flush()


def _blocks(base: bytes, files: Iterable[tuple[bytes, bytes]], *, links: bool) -> Iterator[bytes]:
    for path, name in files:
        where = base + b"/" + path
        try:
            found = os.stat(where, follow_symlinks=not links)  # noqa: PTH116 - names as bytes
            if stat.S_ISDIR(found.st_mode):
                info = _info(name, found)
                info.type = tarfile.DIRTYPE
                yield _header(info)
                continue
            if stat.S_ISLNK(found.st_mode):
                info = _info(name, found)
                info.type, info.linkname = tarfile.SYMTYPE, os.fsdecode(os.readlink(where))  # noqa: PTH115 - names as bytes
                yield _header(info)
                continue
            file = os.open(where, _READ if links else _READ & ~os.O_NOFOLLOW)
        except OSError:  # gone or not readable: the next listing shows the same
            continue
        try:
            found = os.fstat(file)
            if stat.S_ISREG(found.st_mode):
                info = _info(name, found)
                info.size = found.st_size
                yield _header(info)
                yield from _content(file, found.st_size)
        finally:
            os.close(file)
    yield bytes(2 * _BLOCK)


def _content(file: int, size: int) -> Iterator[bytes]:
    left = size
    while left > 0 and (piece := os.read(file, min(left, _CHUNK))):
        left -= len(piece)
        yield piece
    while left > 0:
        yield bytes(min(left, _CHUNK))
        left -= min(left, _CHUNK)
    yield bytes(-size % _BLOCK)


def _info(name: bytes, found: os.stat_result) -> tarfile.TarInfo:
    """Without an owner: local users do not exist on the machine."""
    info = tarfile.TarInfo(os.fsdecode(name))
    info.mode = stat.S_IMODE(found.st_mode) & MODE
    info.mtime = max(0, int(found.st_mtime))
    return info


def _header(info: tarfile.TarInfo) -> bytes:
    # GNU's format: busybox ignores long names in the other one.
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
