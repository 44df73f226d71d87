"""Performs the steps that copy a path to or from a rented machine."""

from __future__ import annotations

import os
import posixpath
import shlex
from typing import TYPE_CHECKING

from clore_ai._api.steps import Fetch, Put
from clore_ai._ssh.copy.failures import CopyFailedError
from clore_ai._ssh.copy.fetch import fetch_path
from clore_ai._ssh.copy.put import put
from clore_ai._values import sizes
from clore_ai._values.text import plain
from clore_ai.exceptions import TransportError

if TYPE_CHECKING:
    from clore_ai._ssh.copy.pulled import Stopped


def perform(step: Fetch | Put, stopped: Stopped = lambda: False) -> dict[str, str]:
    """Perform a step; returns the refused files with the reasons.

    Raises:
        TransportError: the copy is incomplete.
    """
    try:
        if isinstance(step, Put):
            _put_path(step, stopped)
            return {}
        found = fetch_path(step.ssh, step.remote, step.goal, most=step.most, stopped=stopped)
    except FileNotFoundError as exc:
        raise TransportError(f"{plain(step.remote)} does not exist on the machine.") from exc
    except CopyFailedError as exc:
        what = (
            f"{plain(step.remote)} was not fetched"
            if isinstance(step, Fetch)
            else f"{step.local} was not uploaded"
        )
        raise TransportError(f"{what}: {exc}.", maybe_acted=True) from exc
    if found.over is not None:
        files, size = found.over
        raise TransportError(
            f"{plain(step.remote)} was fetched only in part: it holds "
            f"{sizes.counted(files, 'file')}, {sizes.in_words(size)}, and max_bytes allows "
            f"{sizes.in_words(step.most)}."
        )
    if found.unread:
        raise TransportError(
            f"{found.unread[0]} can't be read on the machine; the rest was fetched."
        )
    return found.refused


def _put_path(step: Put, stopped: Stopped) -> None:
    """A folder's content goes into the remote folder, a file to the remote file."""
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
