"""Creates the provisioner for a kind of rooms."""

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
    """A provisioner; its `open` finds out whether this machine supports it.

    With `keep` the orders' files outlive a killed marketplace.

    Raises:
        CannotIsolate: The folder for the rooms belongs to another user.
    """
    if kind == "bwrap":
        folder = open_to_others(folder, state)
    builder = _builder(kind, folder, state)
    return Rooms(builder, folder, state=state, keep=keep, address=address, host_key=host_key)


def _builder(kind: Kind, folder: Path, state: str) -> Builder:
    # Each kind's module is imported on use: docker's needs a further library.
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
    """The folder, or one in the temporary folder if other users cannot reach it.

    If root runs the marketplace, each order of bubblewrap has its own user id, which must reach its
    files.
    """
    if os.geteuid() != 0 or all(p.stat().st_mode & _OTHERS_MAY_PASS for p in folder.parents):
        return folder
    shared = Path(tempfile.gettempdir(), f"clore-rooms-{state}").resolve()
    with contextlib.suppress(FileExistsError):
        shared.mkdir(mode=0o711)
    found = shared.lstat()
    if found.st_uid != os.geteuid() or not stat.S_ISDIR(found.st_mode):
        raise CannotIsolate(f"{shared} belongs to another user: remove it")
    return shared
