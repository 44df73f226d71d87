"""Uploads files to a rented machine: those that it lacks, as one tar stream.

The machine needs a shell, `tar`, `stat` and `xargs`. Every image has them, busybox too.
"""

from __future__ import annotations

import os
import shlex
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from clore_ai._api.steps import Exec
from clore_ai._ssh import marks, programs
from clore_ai._ssh.copy import free_space, listing, send
from clore_ai._ssh.copy.failures import CopyFailedError, CutError, FullError, cut, failed
from clore_ai._ssh.copy.listing import LONGEST
from clore_ai._ssh.copy.listing import SILENT_S as LISTS_SILENT_S
from clore_ai._ssh.copy.listing import WITHIN_S as LISTS_WITHIN_S
from clore_ai._ssh.copy.pulled import SILENT_S, SSH_FAILED, WITHIN_S

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from clore_ai._api.steps import Done
    from clore_ai._ssh.copy.pulled import Ssh, Stopped

_ASKS_WITHIN_S = 30.0


def put(
    ssh: Ssh,
    place: str,
    folder: Path,
    files: Sequence[tuple[bytes, bytes]],
    *,
    changed: Collection[bytes] = (),
    links: bool = True,
    stopped: Stopped = lambda: False,
) -> tuple[int, int]:
    """Upload the files that the machine lacks; returns how many, and their bytes.

    Args:
        ssh: runs a line on the machine.
        place: shell words for the folder on the machine, which is created.
        folder: the local folder.
        files: paths below it, and their names on the machine.
        changed: names to send even if the machine has a file of the same size and second.
        links: send symbolic links as links; else the files that they lead to.
        stopped: whether to stop.

    Raises:
        CutError, FullError, CopyFailedError: the upload is incomplete.
    """
    try:
        there = _there(ssh, place, [name for _, name in files], stopped)
    except CutError:
        raise
    except CopyFailedError as exc:
        raise _full(ssh, place, 0, stopped) or exc from exc
    base = os.fsencode(folder)
    going: list[tuple[bytes, bytes]] = []
    size = 0
    for path, name in files:
        with suppress(OSError):
            found = os.stat(base + b"/" + path, follow_symlinks=not links)  # noqa: PTH116 - as bytes
            entry = there.get(name)
            if entry is None or name in changed or not _alike(found, entry):
                going.append((path, name))
                size += found.st_size
    if not going:
        return 0, 0
    mark = marks.new()
    line = f"cd {place} && tar -xzf - && printf '\\n%s\\n' {mark}"
    step = Exec(
        ssh(f"exec sh -c {shlex.quote(line)}"),
        send.stream(folder, going, links=links),
        WITHIN_S,
        silent_s=SILENT_S,
    )
    done = programs.run(step, stopped)
    if marks.after(mark, done.out) is None:
        raise _not_there(ssh, place, done, size, stopped)
    return len(going), size


def _there(
    ssh: Ssh, place: str, names: Sequence[bytes], stopped: Stopped
) -> dict[bytes, listing.Entry]:
    """The machine's list of these files; its folder is created."""
    mark = marks.new()
    line = ssh(f"exec sh -c {shlex.quote(listing.stat_script(mark, place))}")
    asked = b"".join(b"./" + name + b"\0" for name in names)
    done = programs.run(
        Exec(line, asked, LISTS_WITHIN_S, most=LONGEST, silent_s=LISTS_SILENT_S), stopped
    )
    found = listing.read(mark, done.out)
    if found is None:
        raise failed(done)
    return {entry.path: entry for entry in found.entries}


def _alike(here: os.stat_result, there: listing.Entry) -> bool:
    """Does the machine have this file, judging by size and second?"""
    if stat.S_IFMT(here.st_mode) != stat.S_IFMT(there.mode) or here.st_size != there.size:
        return False
    same_bits = (here.st_mode ^ there.mode) & send.MODE == 0
    return there.is_link or (same_bits and int(here.st_mtime) == there.mtime_ns // 1_000_000_000)


def _not_there(ssh: Ssh, place: str, done: Done, size: int, stopped: Stopped) -> CopyFailedError:
    """Why an upload failed. Error messages of other programs decide nothing."""
    if not done.flooded and done.code in (None, SSH_FAILED):
        return cut(done)
    return _full(ssh, place, size, stopped) or failed(done)


def _full(ssh: Ssh, place: str, size: int, stopped: Stopped) -> FullError | None:
    """Is a disk of the machine too full for this many bytes?"""
    question = free_space.question(place, f'"$(dirname -- {place})"')
    asked = programs.run(Exec(ssh(question), b"", _ASKS_WITHIN_S), stopped)
    free_kb = free_space.least_free_kb(asked.out)
    if free_kb is None or free_kb >= size // 1024 + free_space.LITTLE_KB:
        return None
    return FullError("the machine's disk is full", there=True)
