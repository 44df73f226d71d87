"""A provisioner for each kind of room."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from clore_sandbox.provision.fence.interior import CannotIsolate
from clore_sandbox.provision.rooms import Rooms

if TYPE_CHECKING:
    from clore_sandbox.provision import Kind
    from clore_sandbox.provision.address import PublicAddress
    from clore_sandbox.provision.fence.interior import Builder

__all__ = ["make_rooms"]

_OTHERS_MAY_PASS = 0o001


def make_rooms(
    kind: Kind, folder: Path, *, state: str, keep: bool, address: PublicAddress, host_key: str
) -> Rooms:
    """A provisioner; whether this machine can do it is found out when it opens.

    With `keep` the orders' files outlive a marketplace that is killed.

    Raises:
        CannotIsolate: The place where the rooms would lie is somebody else's.
    """
    if kind == "bwrap":
        folder = open_to_others(folder, state)
    builder = _builder(kind, folder, state)
    return Rooms(builder, folder, state=state, keep=keep, address=address, host_key=host_key)


def _builder(kind: Kind, folder: Path, state: str) -> Builder:
    # Each kind's module is imported where it is used: docker's needs a library of its own.
    if kind == "bwrap":
        from clore_sandbox.provision.fence.bwrap import BwrapBuilder

        return BwrapBuilder(folder, state=state)
    if kind == "docker":
        try:
            from clore_sandbox.provision.fence.docker import DockerBuilder
        except ImportError as exc:
            raise CannotIsolate(
                f"the docker provisioner needs the library {exc.name}; in a checkout of"
                " clore-ai, run: pip install '.[sandbox,docker]'"
            ) from exc
        return DockerBuilder(folder, state=state)
    from clore_sandbox.provision.fence.process import ProcessBuilder

    return ProcessBuilder(state=state)


def open_to_others(folder: Path, state: str) -> Path:
    """The folder, or one in the temporary folder where only its owner gets as far as that.

    Run by root, each order of bubblewrap's is a user of its own, who must reach his own files.
    """
    if os.geteuid() != 0 or all(p.stat().st_mode & _OTHERS_MAY_PASS for p in folder.parents):
        return folder
    place = Path(tempfile.gettempdir(), f"clore-rooms-{state}").resolve()
    with contextlib.suppress(FileExistsError):
        place.mkdir(mode=0o711)
    found = place.lstat()
    if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode):
        raise CannotIsolate(f"{place} is somebody else's: remove it")
    return place
