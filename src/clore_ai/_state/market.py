"""The marketplace as last read, for whoever else asks soon: in memory, or in the state folder.

It is a file of its own and not in the store: 2 MB that may be lost, and read and written in a tenth
of the time; nobody else waits meanwhile.

So many watches, in as many processes of one key, cost one request a poll. Who wants a new one
takes the lock and reads it for all. One whose holder has been at it for long is passed over: it is
stopped (Ctrl-Z), or out of the network; then there is another one. It may do no network I/O.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Callable
from weakref import WeakValueDictionary

from clore_ai._state.folder import open_private, private_folder, write_private
from clore_ai._state.lock import FileLock, MemoryLock
from clore_ai._values.kinds import as_dict, as_list

if TYPE_CHECKING:
    from pathlib import Path

    from clore_ai._api.steps import Instant
    from clore_ai._state.store import Store


def file_of(store: Store, of: str) -> Path | None:
    """Where the processes of a machine share the market of one key; each has its own clock."""
    return store.folder and store.folder / "shared" / f"market-{of}-{store.machine}.json"


_SAME_CLOCK_S = 5.0
_LONGEST_HEAD, _LONGEST = 1_000, 128 << 20
_UNUSABLE = (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError)
"""What a file that is damaged raises when it is read."""
LONGEST_S = 6.0
"""How long whoever holds a lock may take, its turn in the pace included."""
_LOCKS = 3


@dataclass(frozen=True)
class Market:
    """The raw records of one answer, and when it came."""

    records: list[dict[str, Any]]
    mono: float
    """Seconds on the machine's clock that never jumps."""
    local: float
    """Unix seconds by this machine's clock."""
    worked_out: dict[str, Any] = field(default_factory=dict[str, Any], repr=False, compare=False)
    """What a reader in this process has made of the records, for the next one."""

    def age_s(self, now: Instant) -> float:
        """Seconds since; infinite where the machine was started anew meanwhile."""
        return _age_s(self.mono, self.local, now)


class MarketFile:
    """One `Market`; a file that can't be read or written only means that nothing is shared."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._holders: WeakValueDictionary[str, MemoryLock] = WeakValueDictionary()
        self._newest: Market | None = None

    def take(self, now: Instant) -> Callable[[], None] | None:
        """The right to ask the service, where nobody else is about to; call it to give it back.

        Raises:
            ConfigError: the file can't be opened.
            OSError: its folder can't be made.
        """
        if self._path is None:
            mine = MemoryLock(self._holders, "market")
            return mine.release if mine.try_acquire() else None
        private_folder(private_folder(self._path.parent.parent) / self._path.parent.name)
        for number in range(_LOCKS):
            path = self._path.with_suffix(f".lock{number or ''}")
            lock = FileLock(path)
            if lock.try_acquire():
                with suppress(OSError):  # then it is not passed over
                    os.ftruncate(lock.file, 0)
                    os.write(lock.file, _head(now).encode())
                return partial(_free, lock)
            if not _held_s(path, now) > LONGEST_S:
                break
        return None

    def newest(self, now: Instant, most_s: float) -> Market | None:
        """The newest, if it is not as old as that."""
        known = self._newest
        if known is not None and known.age_s(now) < most_s:
            newer = self._read(now, known.age_s(now))
            return newer or known
        return self._read(now, most_s)

    def put(self, records: list[dict[str, Any]], now: Instant) -> Market:
        """Keep what was just read.

        Raises:
            OSError: the others can't have it; whoever put it can.
        """
        market = self.alone(records, now)
        if self._path is not None:
            write_private(self._path, f"{_head(now)}\n{json.dumps(records)}")
        return market

    def alone(self, records: list[dict[str, Any]], now: Instant) -> Market:
        """Keep it for this client only."""
        self._newest = Market(records, now.mono, now.wall - now.ahead_s)
        return self._newest

    def _read(self, now: Instant, below_s: float) -> Market | None:
        """What the file holds, if it is younger; the body is read only then."""
        if self._path is None:
            return None
        try:
            with open_private(self._path) as file:
                mono, local = _times(file)
                if not _age_s(mono, local, now) < below_s:
                    return None
                listed = as_list(json.loads(file.read(_LONGEST))) or []
        except _UNUSABLE:
            return None
        records = [record for each in listed if (record := as_dict(each)) is not None]
        self._newest = Market(records, mono, local)
        return self._newest


def _head(now: Instant) -> str:
    return json.dumps({"mono": now.mono, "local": now.wall - now.ahead_s})


def _free(lock: FileLock) -> None:
    with suppress(OSError):
        os.ftruncate(lock.file, 0)  # the next holder's time is not this one's
    lock.release()


def _held_s(path: Path, now: Instant) -> float:
    """For how long a lock has been held; 0 where its holder does not say."""
    try:
        with open_private(path) as file:
            return _age_s(*_times(file), now)
    except _UNUSABLE:
        return 0.0


def _times(file: BinaryIO) -> tuple[float, float]:
    """What `_head` made, on the file's first line."""
    head = as_dict(json.loads(file.readline(_LONGEST_HEAD))) or {}
    return float(head["mono"]), float(head["local"])


def _age_s(mono: float, local: float, now: Instant) -> float:
    age = now.mono - mono
    by_wall = now.wall - now.ahead_s - local
    # It may have been written since `now` was.
    same = age >= -_SAME_CLOCK_S and abs(age - by_wall) <= _SAME_CLOCK_S
    return max(age, 0.0) if same else float("inf")
