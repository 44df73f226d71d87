"""Uploads the working folder and fetches the outputs, over a job's open connection.

Both ways send only changes: the machine is asked which files it has. The list of what was sent is
kept in the order's folder of the state folder, so that a file removed here is removed there.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from clore_ai._ssh import async_programs
from clore_ai._ssh.connection import ConnectionLost
from clore_ai._ssh.copy.failures import CopyFailedError, CutError, FullError
from clore_ai._ssh.copy.fetch import Fetched, fetch
from clore_ai._ssh.copy.put import put
from clore_ai._state.folder import write_private
from clore_ai._values.kinds import as_dict
from clore_ai._values.text import plain
from clore_ai.exceptions import CloreAPIError
from clore_ai.jobs.scripts import remove

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from clore_ai._ssh.connection import SSHConnection

T = TypeVar("T")


class CopyError(CloreAPIError):
    """Files could not be copied, and the connection is not the cause."""


class NoRoomError(CopyError):
    """A disk is full. `there`: the machine's disk, not this one's."""

    def __init__(self, message: str, *, there: bool) -> None:
        super().__init__(message)
        self.there = there


@dataclass(frozen=True)
class Copier:
    """Copies between `folder` here and `work` on the machine (below the home folder)."""

    line: SSHConnection
    folder: Path
    work: str

    async def upload(self, paths: Sequence[bytes], sent: Path) -> tuple[int, int]:
        """Send these files, and remove files there that were sent before and are gone here.

        Args:
            paths: below the folder.
            sent: the file that keeps the list of what was sent.

        Returns:
            How many files were sent, and their bytes.

        Raises:
            Lost, NoRoomError, CopyError: not all of them arrived.
        """
        before, now = await async_programs.in_thread(lambda _: (_read(sent), self._state(paths)))
        gone = [os.fsencode(path) for path in before if path not in now]
        if gone:
            done = await self.line.fed(
                f"mkdir -p {self._place} && cd {self._place} && xargs -0 rm -f --", remove(gone)
            )
            if done.code != 0:
                raise CopyError(f"Old files can't be removed on the machine: {plain(done.err)}")
        # The machine counts whole seconds: a change within one is visible only here.
        changed = {os.fsencode(path) for path in now if before.get(path) not in (None, now[path])}
        pairs = [(os.fsencode(path), os.fsencode(path)) for path in now]

        def go(stopped: Callable[[], bool]) -> tuple[int, int]:
            return put(
                self.line.words, self._place, self.folder, pairs, changed=changed, stopped=stopped
            )

        went = await self._done(go, "upload the working folder")
        with suppress(OSError):  # otherwise everything is sent next time
            await async_programs.in_thread(lambda _: write_private(sent, json.dumps(now)))
        return went

    async def fetch(self, outputs: Sequence[str], most: int, kept_since: float) -> Fetched:
        """Fetch these folders or files, as they are now.

        Args:
            outputs: below the folder.
            most: the most bytes that they may hold in total.
            kept_since: a file that was changed here after this, and is newer, is kept.

        Raises:
            Lost, NoRoomError, CopyError: not all of them arrived.
        """

        def come(stopped: Callable[[], bool]) -> Fetched:
            return fetch(
                self.line.words, self._place, outputs, self.folder,
                most=most, kept_since=kept_since, stopped=stopped,
            )  # fmt: skip

        return await self._done(come, "fetch the outputs")

    @property
    def _place(self) -> str:
        return f'"$HOME/{self.work}"'

    def _state(self, paths: Sequence[bytes]) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        base = os.fsencode(self.folder)
        for path in paths:
            with suppress(FileNotFoundError):
                info = os.lstat(base + b"/" + path)
                found[os.fsdecode(path)] = [info.st_size, info.st_mtime_ns, info.st_mode]
        return found

    async def _done(self, work: Callable[[Callable[[], bool]], T], what: str) -> T:
        try:
            return await async_programs.in_thread(work)
        except CutError as exc:
            raise ConnectionLost(f"{exc}, while trying to {what}", moved=exc.moved) from exc
        except FullError as exc:
            place = "The machine's disk" if exc.there else f"The disk of {self.folder}"
            raise NoRoomError(f"{place} is full: can't {what}.", there=exc.there) from exc
        except CopyFailedError as exc:
            if not await self.line.lives():
                raise ConnectionLost(f"{exc}, while trying to {what}") from exc
            raise CopyError(f"Can't {what}: {exc}.") from exc


def _read(path: Path) -> dict[str, Any]:
    try:
        return as_dict(json.loads(path.read_text("utf-8"))) or {}
    except (OSError, ValueError):
        return {}
