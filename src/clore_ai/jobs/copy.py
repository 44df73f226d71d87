"""The working folder to the machine and its outputs back: rsync, or tar where one side has none.

Either way only what changed goes up: rsync compares, and for tar and for what was removed there is
a list of what was sent before, in the order's folder of the state folder.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import tarfile
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clore_ai import _programs
from clore_ai._flow import Done, Exec
from clore_ai._json import as_dict
from clore_ai.config import write_private
from clore_ai.exceptions import CloreAPIError
from clore_ai.jobs.line import Lost, end
from clore_ai.jobs.remote import remove

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from clore_ai.jobs.line import Line
    from clore_ai.jobs.remote import Tools

AT_MOST_S = 6 * 3600.0
"""For one copy: a dead connection is noticed by ssh itself, much sooner."""
_PARTIAL, _VANISHED, _NOT_HERE = 23, 24, 127
_CHUNK = 1 << 18
_SECOND_NS = 1_000_000_000
_VERSION = re.compile(rb"rsync +version (\d+)\.(\d+)\.(\d+)")
_COMPARES_NS = (3, 1, 3)
_ANSWERS_WITHIN_S = 10.0
_NO_ROOM = b"No space left on device", b"Disk quota exceeded"


class CopyError(CloreAPIError):
    """Files could not be copied, and the connection is not why."""


class NoRoomError(CopyError):
    """A disk is full. `there`: the machine's, not this one's."""

    def __init__(self, message: str, *, there: bool) -> None:
        super().__init__(message)
        self.there = there


@dataclass(frozen=True)
class Copier:
    """Copies between `folder` here and `work` there (below the home folder)."""

    line: Line
    tools: Tools
    folder: Path
    work: str

    @property
    def by_rsync(self) -> bool:
        """Have both sides got it?"""
        return self.tools.rsync and shutil.which("rsync") is not None

    async def upload(self, paths: Sequence[bytes], sent: Path) -> int:
        """Bring these files there, and remove what was sent before and is gone; how many there are.

        Args:
            paths: below the folder.
            sent: the file that keeps what was sent.

        Raises:
            Lost, NoRoomError, CopyError: it is not all there.
        """
        before, now = _read(sent), self._state(paths)
        gone = [os.fsencode(path) for path in before if path not in now]
        if gone:
            done = await self.line.fed(f"cd {self.work} && xargs -0 rm -f --", remove(gone))
            await self._check(done, "remove old files", there=True)
        if self.by_rsync:
            await self._send(paths)
            alike = [os.fsencode(path) for path in now if _alike(before.get(path), now[path])]
            if alike:
                await self._send(alike, "--ignore-times")
        else:
            self._need_tar()
            changed = [
                os.fsencode(path) for path, state in now.items() if before.get(path) != state
            ]
            await self._pack(changed)
        with suppress(OSError):  # then all of it goes next time
            write_private(sent, json.dumps(now))
        return len(now)

    async def _send(self, paths: Sequence[bytes], *options: str) -> None:
        words = (
            "rsync", "-rlptDz", *options, "--files-from=-", "--from0", "-e", self.line.shell, "./",
            f"{self.line.address}:{self.work}/",
        )  # fmt: skip
        done = await self._rsync(words, b"\0".join(paths))
        if done.code != _VANISHED:
            await self._check(done, "upload the working folder", there=True)

    async def fetch(self, outputs: Sequence[str]) -> list[str]:
        """Bring these folders or files back, as they are now; those that are not there (yet).

        Raises:
            Lost, NoRoomError, CopyError: it is not all here.
        """
        if not self.by_rsync:
            self._need_tar()
            return await self._unpack(outputs)
        words = (
            "rsync", "-rlptD", await _exactly(), "--partial",
            "--files-from=-", "--from0", "-e", self.line.shell,
            f"{self.line.address}:{self.work}/", "./",
        )  # fmt: skip
        done = await self._rsync(words, b"\0".join(os.fsencode(each) for each in outputs))
        missing = _missing(done) if done.code == _PARTIAL else []
        if done.code != _VANISHED and not missing:
            await self._check(done, "fetch the outputs", there=False)
        return [each for each in outputs if any(m.endswith(each) for m in missing)]

    def _state(self, paths: Sequence[bytes]) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        base = os.fsencode(self.folder)
        for path in paths:
            with suppress(FileNotFoundError):
                info = os.lstat(base + b"/" + path)
                found[os.fsdecode(path)] = [info.st_size, info.st_mtime_ns, info.st_mode]
        return found

    async def _rsync(self, words: tuple[str, ...], stdin: bytes) -> Done:
        return await _programs.run_async(Exec(words, stdin, AT_MOST_S, str(self.folder)))

    async def _check(self, done: Done, what: str, *, there: bool) -> None:
        if done.code == 0:
            return
        said = " ".join(done.err.decode("utf-8", "replace").split())
        if any(words in done.err for words in _NO_ROOM):
            place = "The machine's disk" if there else f"The disk of {self.folder}"
            raise NoRoomError(f"{place} is full: can't {what}.", there=there)
        if done.code is None or not await self.line.lives():
            raise Lost(f"while trying to {what}")
        raise CopyError(f"Can't {what}: {said[-600:] or f'exit {done.code}'}")

    def _need_tar(self) -> None:
        if not self.tools.tar:
            raise CopyError(
                "Files can't be copied: it takes rsync on both sides, or tar there. Install one "
                "there, e.g. with an image that has it, or run with --no-upload and without "
                "--output."
            )

    async def _pack(self, paths: Sequence[bytes]) -> None:
        """One tar archive through the connection."""
        if not paths:
            return
        process = await self._start(f"cd {self.work} && tar -xzf -")
        if process.stdin is None:  # pragma: no cover - it was asked for
            raise CopyError("no way to the machine's tar")
        loop = asyncio.get_running_loop()
        errors = asyncio.ensure_future(_all(process.stderr))
        descriptor = os.dup(process.stdin.transport.get_extra_info("pipe").fileno())
        os.set_blocking(descriptor, True)
        try:
            await loop.run_in_executor(None, self._write_tar, descriptor, paths)
            process.stdin.close()
            await process.wait()
        finally:
            end(process)
        await self._check(Done(process.returncode, b"", await errors), "upload", there=True)

    def _write_tar(self, descriptor: int, paths: Sequence[bytes]) -> None:
        form = tarfile.PAX_FORMAT
        with (
            suppress(BrokenPipeError),
            os.fdopen(descriptor, "wb") as pipe,
            tarfile.open(fileobj=pipe, mode="w|gz", format=form) as archive,
        ):
            for path in paths:
                name = os.fsdecode(path)
                with suppress(FileNotFoundError):
                    archive.add(self.folder / name, name, recursive=False, filter=_nobodys)

    async def _unpack(self, outputs: Sequence[str]) -> list[str]:
        names = " ".join(shlex.quote(each) for each in outputs)
        script = (
            f"cd {self.work} && for f in {names}; do "
            '[ -e "$f" ] && set -- "$@" "./$f" || echo "clore: no $f" >&2; done; '
            '[ $# = 0 ] || tar -cf - -- "$@"'
        )
        process = await self._start(f"exec sh -c {shlex.quote(script)}")
        tar = await asyncio.create_subprocess_exec(
            "tar", "-xf", "-", cwd=self.folder, start_new_session=True,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        said = asyncio.ensure_future(_all(process.stderr))
        told = asyncio.ensure_future(_all(tar.stderr))
        came = 0
        try:
            while process.stdout and tar.stdin and (piece := await process.stdout.read(_CHUNK)):
                came += len(piece)
                with suppress(BrokenPipeError, ConnectionResetError):
                    tar.stdin.write(piece)
                    await tar.stdin.drain()
            if tar.stdin:
                tar.stdin.close()
            await process.wait()
            await tar.wait()
        finally:
            end(process)
            end(tar)
        errors = await said
        await self._check(Done(process.returncode, b"", errors), "fetch the outputs", there=True)
        if came:
            await self._check(
                Done(tar.returncode, b"", await told), "fetch the outputs", there=False
            )
        lines = errors.decode("utf-8", "replace").splitlines()
        return [each for each in outputs if f"clore: no {each}" in lines]

    async def _start(self, line: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *self.line.words(line), stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )


def _alike(before: list[int] | None, now: list[int]) -> bool:
    """Would rsync take a changed file for the one that was sent? It looks at size and second."""
    if before is None or before == now:
        return False
    return before[0] == now[0] and before[1] // _SECOND_NS == now[1] // _SECOND_NS


async def _exactly() -> str:
    """The option with which rsync sees a change within a second: the last one of a job counts."""
    done = await _programs.run_async(Exec(("rsync", "--version"), b"", _ANSWERS_WITHIN_S))
    found = _VERSION.search(done.out)
    version = tuple(map(int, found.groups())) if found else ()
    return "--modify-window=-1" if version >= _COMPARES_NS else "--ignore-times"


def _missing(done: Done) -> list[str]:
    """The names that rsync did not find there, where that is all that went wrong."""
    lines = done.err.decode("utf-8", "replace").splitlines()
    lines = [line for line in lines if line.strip() and not line.startswith("rsync error:")]
    names = [
        line.split('"')[1]
        for line in lines
        if "No such file or directory" in line and line.count('"') >= 2  # noqa: PLR2004 - a pair
    ]
    return names if len(names) == len(lines) else []


def _nobodys(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Users here are none there."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info


async def _all(stream: asyncio.StreamReader | None) -> bytes:
    return b"" if stream is None else await stream.read()


def _read(path: Path) -> dict[str, Any]:
    try:
        return as_dict(json.loads(path.read_text("utf-8"))) or {}
    except (OSError, ValueError):
        return {}
