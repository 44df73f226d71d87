"""The cached marketplace, for later readers: in memory, or in the state folder.

It is a file of its own instead of a part of the store: 2 MB that may be lost are read and written
in a tenth of the time, and nobody else waits meanwhile.

So any number of watches, in any number of processes of one key, cost one request per poll. The
process that needs a new reading takes the lock and reads for all. If a holder takes too long,
because it is stopped (Ctrl-Z) or offline, the next lock is used. May do no network I/O.
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
    """The file by which a machine's processes share the market of one key; clocks differ."""
    return store.folder and store.folder / "shared" / f"market-{of}-{store.machine}.json"


_SAME_CLOCK_S = 5.0
_LONGEST_HEAD, _LONGEST = 1_000, 128 << 20
_UNUSABLE = (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError)
"""The errors that reading a damaged file raises."""
LONGEST_S = 6.0
"""How long the holder of a lock may take, the turn in its pace included."""
_LOCKS = 3


@dataclass(frozen=True)
class Market:
    """The raw records of one answer, and the time of the answer."""

    records: list[dict[str, Any]]
    mono: float
    """Seconds on the machine's monotonic clock."""
    local: float
    """Unix seconds by this machine's clock."""
    worked_out: dict[str, Any] = field(default_factory=dict[str, Any], repr=False, compare=False)
    """Results that readers in this process derived from the records, for the next reader."""

    def age_s(self, now: Instant) -> float:
        """Seconds since the answer; infinite after a reboot."""
        return _age_s(self.mono, self.local, now)


class MarketFile:
    """One `Market`. If its file can't be read or written, it is just not shared."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._holders: WeakValueDictionary[str, MemoryLock] = WeakValueDictionary()
        self._newest: Market | None = None

    def take(self, now: Instant) -> Callable[[], None] | None:
        """The right to send the request, if nobody else is about to; call it to release it.

        Raises:
            ConfigError: the file can't be opened.
            OSError: its folder can't be created.
        """
        if self._path is None:
            mine = MemoryLock(self._holders, "market")
            return mine.release if mine.try_acquire() else None
        private_folder(private_folder(self._path.parent.parent) / self._path.parent.name)
        for number in range(_LOCKS):
            path = self._path.with_suffix(f".lock{number or ''}")
            lock = FileLock(path)
            if lock.try_acquire():
                with suppress(OSError):  # then the lock is not skipped
                    os.ftruncate(lock.file, 0)
                    os.write(lock.file, _head(now).encode())
                return partial(_free, lock)
            if not _held_s(path, now) > LONGEST_S:
                break
        return None

    def newest(self, now: Instant, most_s: float) -> Market | None:
        """The newest market, if it is younger than `most_s`."""
        known = self._newest
        if known is not None and known.age_s(now) < most_s:
            newer = self._read(now, known.age_s(now))
            return newer or known
        return self._read(now, most_s)

    def put(self, records: list[dict[str, Any]], now: Instant) -> Market:
        """Keep records that were just read.

        Raises:
            OSError: they can't be shared; this client still has them.
        """
        market = self.alone(records, now)
        if self._path is not None:
            write_private(self._path, f"{_head(now)}\n{json.dumps(records)}")
        return market

    def alone(self, records: list[dict[str, Any]], now: Instant) -> Market:
        """Keep records for this client only."""
        self._newest = Market(records, now.mono, now.wall - now.ahead_s)
        return self._newest

    def _read(self, now: Instant, below_s: float) -> Market | None:
        """The market in the file, if it is younger; only then the body is read."""
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
        os.ftruncate(lock.file, 0)  # the next holder starts its own time
    lock.release()


def _held_s(path: Path, now: Instant) -> float:
    """How long a lock has been held; 0 if its file has no time."""
    try:
        with open_private(path) as file:
            return _age_s(*_times(file), now)
    except _UNUSABLE:
        return 0.0


def _times(file: BinaryIO) -> tuple[float, float]:
    """The times that `_head` wrote on the file's first line."""
    head = as_dict(json.loads(file.readline(_LONGEST_HEAD))) or {}
    return float(head["mono"]), float(head["local"])


def _age_s(mono: float, local: float, now: Instant) -> float:
    age = now.mono - mono
    by_wall = now.wall - now.ahead_s - local
    # It may have been written after `now` was read.
    same = age >= -_SAME_CLOCK_S and abs(age - by_wall) <= _SAME_CLOCK_S
    return max(age, 0.0) if same else float("inf")
