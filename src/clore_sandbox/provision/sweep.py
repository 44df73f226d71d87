"""Finds and ends every process of an order, even one that tries to escape.

A child can leave its process group and its terminal, but not the environment it was started with,
which holds the order's marker: `/proc` shows it on Linux, `ps` elsewhere. A process that cleared
its environment is found as a descendant of a found one, or (on Linux) if its working directory is
in the order's folder and init has adopted it. A user's own shell in that folder has a living
parent, and is left alone.

Run as a program (see watchdog.py) it waits for its parent's end, and then ends all orders'
processes. It imports the standard library only.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["MARKER", "end_processes", "find_processes"]

MARKER = "CLORE_SANDBOX_ROOM"
"""The environment variable that every process of an order has: `<state>:<order>`."""

_PROC = Path("/proc")
_INIT = 1
_ROUNDS = 50
"""New processes can appear during a sweep; each round finds fewer."""
_CHECK_EVERY_S = 2.0


def find_processes(rooms: Mapping[str, Path]) -> set[int]:
    """Process ids of these rooms: marker → folder. `<state>:` is the marker of all its orders."""
    found, parents = _read_proc(rooms) if sys.platform == "linux" else _read_ps(rooms)
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    queue = list(found)
    while queue:
        for child in children.get(queue.pop(), ()):
            if child not in found:
                found.add(child)
                queue.append(child)
    return found - {os.getpid()}


def end_processes(rooms: Mapping[str, Path]) -> int:
    """Send SIGKILL to the processes of these rooms until none is left; returns how many there were.

    Like the removal of a container, this gives them no chance to clean up.
    """
    ended: set[int] = set()
    for round_ in range(_ROUNDS):
        alive = find_processes(rooms)
        if not alive:
            break
        _kill(alive)
        ended |= alive
        # Killed processes leave /proc at once, or when their parent reaps them.
        time.sleep(0.002 * min(round_, 10))
    return len(ended)


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _read_proc(rooms: Mapping[str, Path]) -> tuple[set[int], dict[int, int]]:
    marks = [_mark(marker) for marker in rooms]
    prefix = f"{MARKER}=".encode()
    folders = [str(folder) for folder in rooms.values()]
    found: set[int] = set()
    parents: dict[int, int] = {}
    for entry in os.listdir(_PROC):  # noqa: PTH208 - hot, and only names are needed
        if not entry.isdigit():
            continue
        pid = int(entry)
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:  # noqa: PTH123 - hot
                # pid (name, may hold anything) state ppid …
                state, parent = file.read().rpartition(b")")[2].split()[:2]
            if state in (b"Z", b"X"):
                continue
            parents[pid] = int(parent)
            with open(f"/proc/{entry}/environ", "rb") as file:  # noqa: PTH123 - hot
                environ = file.read() + b"\0"
            if (prefix in environ and any(mark in environ for mark in marks)) or (
                parents[pid] == _INIT
                and _sits_in(
                    os.readlink(f"/proc/{entry}/cwd"),  # noqa: PTH115 - hot
                    folders,
                )
            ):
                found.add(pid)
        except (OSError, ValueError):
            continue
    return found, parents


def _mark(marker: str) -> bytes:
    return f"{MARKER}={marker}".encode() + (b"" if marker.endswith(":") else b"\0")


def _sits_in(cwd: str, folders: list[str]) -> bool:
    return any(cwd == folder or cwd.startswith(folder + "/") for folder in folders)


def _read_ps(rooms: Mapping[str, Path]) -> tuple[set[int], dict[int, int]]:
    listing = subprocess.run(
        ["ps", "axeww", "-o", "pid=,ppid=,stat=,command="],  # noqa: S607 - where the system has it
        capture_output=True,
        check=False,
    ).stdout
    marks = [_mark(marker) for marker in rooms]
    found: set[int] = set()
    parents: dict[int, int] = {}
    for line in listing.splitlines():
        words = line.split()
        if len(words) < 3 or words[2].startswith(b"Z"):  # noqa: PLR2004 - pid, ppid, stat
            continue
        pid = int(words[0])
        parents[pid] = int(words[1])
        if any((word + b"\0").startswith(mark) for word in words[3:] for mark in marks):
            found.add(pid)
    return found, parents


def _watch(pipe: int, state: str, folder: Path, *, keep: bool) -> None:
    """Wait for the parent's end and sweep, unless the parent ends the watch."""
    parent = os.getppid()
    # A process that the parent forked may keep the pipe open, and outlive it.
    while os.getppid() == parent:
        if select.select([pipe], [], [], _CHECK_EVERY_S)[0]:
            if os.read(pipe, 1):
                return
            break
    for _ in range(2):
        end_processes({f"{state}:": folder})
        # Processes that were just starting as the parent died have their marker by then.
        time.sleep(0.1)
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _watch(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), keep=sys.argv[4] == "keep")
