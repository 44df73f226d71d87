"""The marketplace as last read, for whoever else asks soon: in memory, or in the state folder.

So many watches, in as many processes of one key, cost one request a poll. Who wants a new one
takes the lock and reads it for all. It may do no network I/O.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clore_ai._json import as_dict, as_list
from clore_ai._lock import FileLock
from clore_ai.config import private_folder, write_private
from clore_ai.ledger import MemoryLock

if TYPE_CHECKING:
    from pathlib import Path

    from clore_ai._flow import Instant

_SAME_CLOCK_S = 5.0
_LONGEST_HEAD = 1_000


@dataclass(frozen=True)
class Market:
    """The raw records of one answer, and when it came."""

    records: list[dict[str, Any]]
    mono: float
    """Seconds on the machine's clock that never jumps."""
    local: float
    """Unix seconds by this machine's clock."""

    def age_s(self, now: Instant) -> float:
        """Seconds since; infinite where the machine was started anew meanwhile."""
        return _age_s(self.mono, self.local, now)


class MarketFile:
    """One `Market`; a file that can't be read or written only means that nothing is shared."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._newest: Market | None = None

    def lock(self) -> FileLock | MemoryLock:
        """For who is about to ask the service; to be taken without waiting.

        Raises:
            ConfigError: the file can't be opened.
            OSError: its folder can't be made.
        """
        if self._path is None:
            return MemoryLock(self._lock)
        private_folder(private_folder(self._path.parent.parent) / self._path.parent.name)
        return FileLock(self._path.with_suffix(".lock"))

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
            head = json.dumps({"mono": market.mono, "local": market.local})
            write_private(self._path, f"{head}\n{json.dumps(records)}")
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
            with self._path.open(encoding="utf-8") as file:
                head = as_dict(json.loads(file.readline(_LONGEST_HEAD))) or {}
                mono, local = float(head["mono"]), float(head["local"])
                if not _age_s(mono, local, now) < below_s:
                    return None
                listed = as_list(json.loads(file.read())) or []
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        records = [record for each in listed if (record := as_dict(each)) is not None]
        self._newest = Market(records, mono, local)
        return self._newest


def _age_s(mono: float, local: float, now: Instant) -> float:
    age = now.mono - mono
    by_wall = now.wall - now.ahead_s - local
    return age if age >= 0 and abs(age - by_wall) <= _SAME_CLOCK_S else float("inf")
