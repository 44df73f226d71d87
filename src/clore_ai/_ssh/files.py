"""Copies files to and from a rented machine over SSH: what changed, one tar stream each way.

Both ways need a shell, `tar`, `find`, `stat` and `xargs` there, as every image has them, busybox
too. Blocking; what waits sees `stopped` within a moment, and no machine can keep it for ever.
"""

from __future__ import annotations

import errno
import os
import posixpath
import shlex
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable

from clore_ai import _programs, _sizes
from clore_ai._flow import Exec, Fetch, Put
from clore_ai._ssh import listing, send
from clore_ai._ssh.gate import refusal
from clore_ai._ssh.pulled import SILENT_S, SSH_FAILED, WITHIN_S, Pulled
from clore_ai._ssh.receive import (
    BadStreamError,
    Received,
    TooMuchError,
    Wanted,
    is_same,
    receive,
)
from clore_ai._ssh.tree import InTheWayError, Tree, names_of
from clore_ai._text import plain
from clore_ai.exceptions import TransportError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from clore_ai._flow import Done

MOST_BYTES = 50 * 1_000_000_000
"""Of all outputs of a job, unless the user says otherwise."""
MOST_FILES = 1_000_000
_LISTS_WITHIN_S, _LISTS_SILENT_S, _ASKS_WITHIN_S = 600.0, 60.0, 30.0
_LONGEST_LISTING = 1 << 26
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_LITTLE_KB = 64

Stopped = Callable[[], bool]
Ssh = Callable[[str], "tuple[str, ...]"]
"""The words that run a line of the shell there."""


class CopyFailedError(Exception):
    """Files could not be copied; the message says why, in a clause."""


class CutError(CopyFailedError):
    """The connection did not hold: another try may do. `moved`: did some files come before?"""

    def __init__(self, message: str, *, moved: bool = False) -> None:
        super().__init__(message)
        self.moved = moved


class FullError(CopyFailedError):
    """A disk is full. `there`: the machine's, not this one's."""

    def __init__(self, message: str, *, there: bool) -> None:
        super().__init__(message)
        self.there = there


@dataclass
class Fetched:
    """What came back."""

    files: int = 0
    size: int = 0
    missing: list[str] = field(default_factory=list[str])
    """Names that were asked for and are not there (yet)."""
    refused: dict[str, str] = field(default_factory=dict[str, str])
    """Why a file was not taken, by its name, both fit to print."""
    unread: list[str] = field(default_factory=list[str])
    """Names that the machine lists and did not send, fit to print."""
    over: tuple[int, int] | None = None
    """Files and bytes there, where they are more than was allowed; those beyond did not come."""


def perform(step: Fetch | Put, stopped: Stopped = lambda: False) -> dict[str, str]:
    """Do what a step says; why some of it was not taken, by name.

    Raises:
        TransportError: it did not arrive whole.
    """
    try:
        if isinstance(step, Put):
            _put_path(step, stopped)
            return {}
        found = fetch_path(step.ssh, step.remote, step.goal, most=step.most, stopped=stopped)
    except FileNotFoundError as exc:
        raise TransportError(f"{plain(step.remote)} is not on the machine.") from exc
    except CopyFailedError as exc:
        what = (
            f"{plain(step.remote)} did not arrive here"
            if isinstance(step, Fetch)
            else f"{step.local} did not arrive on the machine"
        )
        raise TransportError(f"{what}: {exc}.", maybe_acted=True) from exc
    if found.over is not None:
        files, size = found.over
        raise TransportError(
            f"{plain(step.remote)} did not arrive here whole: it holds {files:,} file"
            f"{'' if files == 1 else 's'}, {_sizes.in_words(size)}, and "
            f"{_sizes.in_words(step.most)} are allowed (max_bytes)."
        )
    if found.unread:
        raise TransportError(f"{found.unread[0]} can't be read on the machine; the rest is here.")
    return found.refused


def _put_path(step: Put, stopped: Stopped) -> None:
    """A folder's content into the folder there; a file as the file there."""
    remote = step.remote if step.remote.startswith("/") else f"./{step.remote}"
    if not step.local.is_dir():
        place, name = posixpath.split(remote)
        pair = (os.fsencode(step.local.name), os.fsencode(name or step.local.name))
        put(step.ssh, shlex.quote(place), step.local.parent, [pair], stopped=stopped, links=False)
        return
    base = os.fsencode(step.local)
    names = [
        os.path.relpath(os.path.join(where, name), base)  # noqa: PTH118 - names as bytes
        for where, folders, files in os.walk(base)
        for name in (*files, *folders)
    ]
    put(step.ssh, shlex.quote(remote), step.local, [(n, n) for n in names], stopped=stopped)


def fetch(
    ssh: Ssh,
    place: str,
    names: Sequence[str],
    goal: Path,
    *,
    most: int = MOST_BYTES,
    most_files: int = MOST_FILES,
    stopped: Stopped = lambda: False,
) -> Fetched:
    """Bring what changed of these files and folders back, to the same names below `goal`.

    Args:
        ssh: runs a line there.
        place: words of the shell for the folder there.
        names: below it.
        goal: the folder here; it is there.
        most: bytes that the outputs may hold in all.
        most_files: likewise.
        stopped: whether to leave off.

    Raises:
        CutError: the connection broke, or `stopped`.
        FullError: this disk is full.
        CopyFailedError: the machine has nothing to copy with, or what it sends is no archive.
    """
    listed = _listed(ssh, place, names, "", stopped)
    tops = [os.fsencode(each) for each in names]
    here = {entry.path: entry.path for entry in listed.entries}
    with _tree(goal, [names_of(top) for top in tops]) as tree:
        return _brought(ssh, place, listed, tree, here, tops, (most, most_files), stopped)


def fetch_path(
    ssh: Ssh,
    remote: str,
    goal: Path,
    *,
    most: int = MOST_BYTES,
    most_files: int = MOST_FILES,
    stopped: Stopped = lambda: False,
) -> Fetched:
    """Bring one file, or a folder's content, back; folders on the way to `goal` are made.

    Raises:
        CutError, FullError, CopyFailedError: as `fetch`.
        FileNotFoundError: it is not there.
    """
    name = posixpath.basename(remote.rstrip("/")) or "."
    quoted = shlex.quote(remote if remote.startswith("/") else f"./{remote}")
    listed = _listed(ssh, quoted, ["."], name, stopped)
    if not listed.entries:
        raise FileNotFoundError(remote)
    if listed.is_folder:
        place, root, top = quoted, goal, b"."
        here = {entry.path: entry.path for entry in listed.entries}
    else:
        place, root, top = f'"$(dirname -- {quoted})"', goal.parent, os.fsencode(goal.name)
        here = {entry.path: top for entry in listed.entries}
    with _tree(root) as tree:
        return _brought(ssh, place, listed, tree, here, [top], (most, most_files), stopped)


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
    """Bring these files there, as far as they are not there; how many went, and their bytes.

    Args:
        ssh: runs a line there.
        place: words of the shell for the folder there, which is made.
        folder: where they are here.
        files: paths below it, and the names that they get there.
        changed: names that go even if the machine has a file of the same size and second.
        links: send symbolic links as links; else what they lead to.
        stopped: whether to leave off.

    Raises:
        CutError, FullError, CopyFailedError: they are not all there.
    """
    there = _there(ssh, place, [name for _, name in files], stopped)
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
    mark = listing.new_mark()
    line = f"cd {place} && tar -xzf - && printf '\\n%s\\n' {mark}"
    step = Exec(
        ssh(f"exec sh -c {shlex.quote(line)}"),
        send.stream(folder, going, links=links),
        WITHIN_S,
        silent_s=SILENT_S,
    )
    done = _programs.run(step, stopped)
    if listing.after(mark, done.out) is None:
        raise _not_there(ssh, place, done, size, stopped)
    return len(going), size


def _there(
    ssh: Ssh, place: str, names: Sequence[bytes], stopped: Stopped
) -> dict[bytes, listing.Entry]:
    """What the machine has of these files, and its folder made."""
    mark = listing.new_mark()
    line = ssh(f"exec sh -c {shlex.quote(listing.stat_script(mark, place))}")
    asked = b"".join(b"./" + name + b"\0" for name in names)
    done = _programs.run(
        Exec(line, asked, _LISTS_WITHIN_S, most=_LONGEST_LISTING, silent_s=_LISTS_SILENT_S), stopped
    )
    found = listing.read(mark, done.out)
    if found is None:
        raise _failed(done)
    return {entry.path: entry for entry in found.entries}


def _alike(here: os.stat_result, there: listing.Entry) -> bool:
    """Is it there already, as far as size and second tell?"""
    if stat.S_IFMT(here.st_mode) != stat.S_IFMT(there.mode) or here.st_size != there.size:
        return False
    same_bits = (here.st_mode ^ there.mode) & send.MODE == 0
    return there.is_link or (same_bits and int(here.st_mtime) == there.mtime_ns // 1_000_000_000)


def _not_there(ssh: Ssh, place: str, done: Done, size: int, stopped: Stopped) -> CopyFailedError:
    """Why an upload failed. What another program says in words decides nothing."""
    if done.code in (None, SSH_FAILED):
        return _cut(done)
    asked = _programs.run(Exec(ssh(f"df -Pk {place}"), b"", _ASKS_WITHIN_S), stopped)
    cells = asked.out.decode("utf-8", "replace").strip().rpartition("\n")[2].split()
    free_kb = next((int(cell) for cell in cells[3:4] if cell.isdigit()), None)
    if free_kb is not None and free_kb < max(_LITTLE_KB, size // 1024 + _LITTLE_KB):
        return FullError("the machine's disk is full", there=True)
    return _failed(done)


def _listed(
    ssh: Ssh, place: str, names: Sequence[str], single: str, stopped: Stopped
) -> listing.Listing:
    mark = listing.new_mark()
    script = os.fsencode(listing.script(mark, place, names, single=single))
    done = _programs.run(
        Exec(
            ssh("exec sh -s"),
            script,
            _LISTS_WITHIN_S,
            most=_LONGEST_LISTING,
            silent_s=_LISTS_SILENT_S,
        ),
        stopped,
    )
    found = listing.read(mark, done.out)
    if found is None:
        raise _failed(done)
    if found.lacks:
        raise CopyFailedError(
            f"the machine has no {' and no '.join(found.lacks)}, which copying files takes; "
            "install them there, e.g. with --setup or another image"
        )
    return found


def _brought(
    ssh: Ssh,
    place: str,
    listed: listing.Listing,
    tree: Tree,
    here: Mapping[bytes, bytes],
    tops: Sequence[bytes],
    bounds: tuple[int, int],
    stopped: Stopped,
) -> Fetched:
    found = Fetched(missing=[os.fsdecode(each) for each in listed.missing])
    most, most_files = bounds
    wanted: dict[bytes, Wanted] = {}
    sizes = files = 0
    for entry in listed.entries:
        if stopped():
            raise CutError("it was stopped")
        goal = here[entry.path]
        top = _top(goal, tops)
        why = refusal(entry, goal, top)
        if why is None and entry.is_folder:
            why = _made(tree, goal)
        if why is not None:
            found.refused[plain(entry.path)] = why
        if why is not None or entry.is_folder:
            continue
        size = 0 if entry.is_link else entry.size
        sizes, files = sizes + size, files + 1
        if is_same(tree.state(names_of(goal)), entry):
            most -= size
        else:
            # One that may still change gets a time that makes the next fetch bring it again.
            mtime_ns = entry.mtime_ns - listed.may_still_change(entry)
            wanted[entry.path] = Wanted(entry, top, goal, mtime_ns)
    if sizes > bounds[0] or files > bounds[1]:
        found.over = files, sizes
        wanted = _within(wanted, max(most, 0), most_files)
    if wanted:
        follow = "" if listed.is_folder else "h"
        _streamed(ssh, place, wanted, tree, max(most, 0), follow, found, stopped)
    return found


def _tree(root: Path, own: Sequence[tuple[bytes, ...]] = ()) -> Tree:
    try:
        root.mkdir(parents=True, exist_ok=True)
        return Tree(root, own)
    except OSError as exc:
        raise _not_here(exc) from exc


def _top(goal: bytes, tops: Sequence[bytes]) -> bytes:
    """The output that it belongs to."""
    return next((each for each in tops if goal == each or goal.startswith(each + b"/")), tops[0])


def _within(wanted: dict[bytes, Wanted], most: int, most_files: int) -> dict[bytes, Wanted]:
    """As many of them as may come, the small ones first: logs and figures before weights."""
    kept: dict[bytes, Wanted] = {}
    for name, want in sorted(wanted.items(), key=lambda item: item[1].entry.size):
        most -= 0 if want.entry.is_link else want.entry.size
        if most < 0 or len(kept) >= most_files:
            break
        kept[name] = want
    return kept


def _made(tree: Tree, goal: bytes) -> str | None:
    try:
        tree.folder(names_of(goal))
    except InTheWayError as exc:
        return str(exc)
    except OSError as exc:
        raise _not_here(exc) from exc
    return None


def _streamed(
    ssh: Ssh,
    place: str,
    wanted: dict[bytes, Wanted],
    tree: Tree,
    most: int,
    follow: str,
    found: Fetched,
    stopped: Stopped,
) -> None:
    mark = listing.new_mark()
    # GNU's tar reads a backslash in a name as an escape, unless an option that others lack says so.
    line = (
        f"cd {place} && printf '\\n%s\\n' {mark} || exit; raw=--no-unquote; "
        "tar $raw --version > /dev/null 2>&1 || raw=; "
        f"exec xargs -0 tar $raw -c{follow}f -"
    )
    names = b"".join(b"./" + name + b"\0" for name in wanted)
    came = Received()
    with Pulled(ssh(f"exec sh -c {shlex.quote(line)}"), names, stopped) as pulled:
        try:
            pulled.skip_to(mark)
            receive(pulled.read, tree, wanted, most, came)
        except TooMuchError:
            found.over = found.over or (len(wanted), most)
        except BadStreamError as exc:
            if pulled.cut():
                raise CutError(pulled.why, moved=came.files > 0) from exc
            raise CopyFailedError(f"what the machine sends can't be read: {exc}") from exc
        except OSError as exc:
            raise _not_here(exc) from exc
        else:
            if pulled.cut():
                raise CutError(pulled.why, moved=came.files > 0)
    found.files, found.size = came.files, came.size
    found.refused |= {plain(name): why for name, why in came.refused.items()}
    if found.over is None:
        left = (name for name in wanted if name not in came.came and name not in came.refused)
        found.unread = [plain(name) for name in left]


def _not_here(exc: OSError) -> CopyFailedError:
    if exc.errno in _NO_ROOM:
        return FullError("the disk is full here", there=False)
    return CopyFailedError(f"it can't be written here: {exc.strerror or exc}")


def _cut(done: Done) -> CutError:
    if done.flooded:
        return CutError("the machine sends more than it was asked for")
    if done.code is None:
        return CutError("the machine does not answer")
    return CutError(plain(done.err) or "the connection was cut")


def _failed(done: Done) -> CopyFailedError:
    """Why there is no answer to go by."""
    if done.code in (None, SSH_FAILED):
        return _cut(done)
    return CopyFailedError(last_words(done.err) or f"a shell there ended with {done.code}")


def last_words(said: bytes) -> str:
    """The last line that says something, fit to print."""
    lines = [plain(line) for line in said[-4096:].splitlines()]
    return next((line for line in reversed(lines) if line), "")
