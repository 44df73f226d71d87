"""Fetches files from a rented machine: those that changed, by size and time, through the one gate.

The machine needs a shell, `tar`, `find`, `stat` and `xargs`. Every image has them, busybox too.
"""

from __future__ import annotations

import os
import posixpath
import shlex
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from clore_ai._api.steps import Exec
from clore_ai._ssh import marks, programs
from clore_ai._ssh.copy import MOST_BYTES, listing
from clore_ai._ssh.copy.failures import CopyFailedError, CutError, failed, not_here
from clore_ai._ssh.copy.gate import is_below, refusal
from clore_ai._ssh.copy.pulled import Pulled
from clore_ai._ssh.copy.receive import (
    BadStreamError,
    Received,
    TooMuchError,
    Wanted,
    is_same,
    receive,
)
from clore_ai._ssh.copy.tree import InTheWayError, Tree, names_of
from clore_ai._values.text import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from clore_ai._ssh.copy.pulled import Ssh, Stopped

MOST_FILES = 500_000


@dataclass
class Fetched:
    """The result of a fetch."""

    files: int = 0
    size: int = 0
    missing: list[str] = field(default_factory=list[str])
    """Requested names that do not exist on the machine (yet)."""
    refused: dict[str, str] = field(default_factory=dict[str, str])
    """Why a file was refused, by its name, both fit to print."""
    unread: list[str] = field(default_factory=list[str])
    """Names that the machine listed but did not send, fit to print."""
    over: tuple[int, int] | None = None
    """The number of files and bytes on the machine, if they exceed the limits; the rest was not
    fetched."""


def fetch(
    ssh: Ssh,
    place: str,
    names: Sequence[str],
    goal: Path,
    *,
    most: int = MOST_BYTES,
    most_files: int = MOST_FILES,
    kept_since: float = inf,
    stopped: Stopped = lambda: False,
) -> Fetched:
    """Fetch what changed of these files and folders, to the same names below `goal`.

    Args:
        ssh: runs a line on the machine.
        place: shell words for the folder on the machine.
        names: paths below it.
        goal: the local folder, which exists.
        most: the most bytes that the outputs may hold.
        most_files: the most files that they may hold.
        kept_since: a local file changed since then and newer than the machine's is kept.
        stopped: whether to stop.

    Raises:
        CutError: the connection broke, or `stopped`.
        FullError: this disk is full.
        CopyFailedError: the machine lacks the programs, or does not send an archive.
    """
    listed = _listed(ssh, place, names, "", stopped)
    tops = [os.fsencode(each) for each in names]
    here = {entry.path: entry.path for entry in listed.entries}
    with _tree(goal, [names_of(top) for top in tops]) as tree:
        bounds = most, most_files
        found = _brought(ssh, place, listed, tree, here, tops, bounds, stopped, kept_since)
    # Only requested names: the machine may name anything as missing.
    found.missing = [name for name, top in zip(names, tops) if top in listed.missing]
    return found


def fetch_path(
    ssh: Ssh,
    remote: str,
    goal: Path,
    *,
    most: int = MOST_BYTES,
    most_files: int = MOST_FILES,
    stopped: Stopped = lambda: False,
) -> Fetched:
    """Fetch one file, or a folder's content; missing folders above `goal` are created.

    Raises:
        CutError, FullError, CopyFailedError: as `fetch`.
        FileNotFoundError: it does not exist on the machine.
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
        found = _brought(ssh, place, listed, tree, here, [top], (most, most_files), stopped)
    if found.refused and not listed.is_folder:
        raise CopyFailedError(next(iter(found.refused.values())))
    return found


def _listed(
    ssh: Ssh, place: str, names: Sequence[str], single: str, stopped: Stopped
) -> listing.Listing:
    mark = marks.new()
    script = os.fsencode(listing.script(mark, place, names, single=single))
    done = programs.run(
        Exec(
            ssh("exec sh -s"),
            script,
            listing.WITHIN_S,
            most=listing.LONGEST,
            silent_s=listing.SILENT_S,
        ),
        stopped,
    )
    found = listing.read(mark, done.out)
    if done.flooded:
        raise CopyFailedError(
            f"the list of files is longer than {listing.LONGEST >> 20} MiB; have the job pack "
            "the files into one archive"
        )
    if found is None:
        raise failed(done)
    if found.lacks:
        raise CopyFailedError(
            f"the machine lacks {' and '.join(found.lacks)}, which copying files needs; install "
            "it with --setup, or use another image"
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
    kept_since: float = inf,
) -> Fetched:
    found = Fetched()
    most, most_files = bounds
    wanted: dict[bytes, Wanted] = {}
    sizes = files = 0
    for entry in listed.entries:
        if stopped():
            raise CutError("it was stopped")
        goal = here[entry.path]
        top = next((each for each in tops if is_below(goal, each)), None)
        if top is None:
            found.refused[plain(entry.path)] = "not requested"
            continue
        why = refusal(entry, goal, top)
        known = None if why or entry.is_folder else tree.state(names_of(goal))
        why = why or _why_not(tree, entry, goal, known, kept_since)
        if why is not None:
            found.refused[plain(entry.path)] = why
        if why is not None or entry.is_folder:
            continue
        size = 0 if entry.is_link else entry.size
        sizes, files = sizes + size, files + 1
        if is_same(known, entry):
            most -= size
        else:
            # A file that may still change gets a time that makes the next fetch fetch it again.
            mtime_ns = entry.mtime_ns - listed.may_still_change(entry)
            wanted[entry.path] = Wanted(entry, top, goal, mtime_ns)
    if sizes > bounds[0] or files > bounds[1]:
        found.over = files, sizes
        wanted = _within(wanted, max(most, 0), most_files)
    if wanted:
        follow = "" if listed.is_folder else "h"
        _streamed(ssh, place, wanted, tree, max(most, 0), follow, found, stopped)
    return found


def _why_not(
    tree: Tree,
    entry: listing.Entry,
    goal: bytes,
    known: os.stat_result | None,
    kept_since: float,
) -> str | None:
    """Why an entry can't be written to its local place; folders are created."""
    if entry.is_folder:
        return _made(tree, goal)
    if known is not None and known.st_mtime_ns > max(entry.mtime_ns, kept_since * 1e9):
        return "the local file was changed and is newer"
    return None


def _tree(root: Path, own: Sequence[tuple[bytes, ...]] = ()) -> Tree:
    try:
        root.mkdir(parents=True, exist_ok=True)
        return Tree(root, own)
    except OSError as exc:
        raise not_here(exc) from exc


def _within(wanted: dict[bytes, Wanted], most: int, most_files: int) -> dict[bytes, Wanted]:
    """As many files as the limits allow, small ones first: logs and figures before weights."""
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
        raise not_here(exc) from exc
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
    mark = marks.new()
    # GNU tar reads a backslash in a name as an escape unless it gets an option that others lack.
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
            raise CopyFailedError(f"the archive from the machine can't be read: {exc}") from exc
        except OSError as exc:
            raise not_here(exc) from exc
        else:
            if pulled.cut():
                raise CutError(pulled.why, moved=came.files > 0)
    found.files, found.size = came.files, came.size
    found.refused |= {plain(name): why for name, why in came.refused.items()}
    if found.over is None:
        left = (name for name in wanted if name not in came.came and name not in came.refused)
        found.unread = [plain(name) for name in left]
