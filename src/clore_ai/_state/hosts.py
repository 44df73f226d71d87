"""Host memory: the user's experience with servers and their owners, and the hosts they blocked.

It covers all marketplaces in one `Store`. May do no network I/O. No rule bars a host for ever
unless the user blocks it:

- A failure counts for 7 days, or until the same server works.
- A loss (a machine that worked and then disappeared) counts for 7 days, however well the server
  boots again, since it booted well before. The owner's other servers count as having failed once.
- A server is ranked as if it cost a quarter more for each failure that counts; three bar it.
- If three servers of one owner have failures that count, and none of the owner's servers worked in
  these 7 days, the owner's other servers count as having failed once.
- A block lasts until the host is allowed again, which also forgets its failures.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

from clore_ai._state.sqlite.rows import read
from clore_ai._state.store import Store, transaction
from clore_ai.exceptions import InvalidInputError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

T = TypeVar("T")
Kind = Literal["server", "owner"]

COUNTS_FOR_S = 7 * 86_400.0
BARRED_FROM = 3
COST_FACTOR_PER_FAILURE = 0.25
_OWNER_FROM = 3
_KEPT_S = 90 * 86_400.0
_LINE = re.compile(r"(?P<owner>owner[:\s]\s*)?(?P<id>[0-9]{1,18})\s*(#\s*(?P<note>.*))?")


@dataclass(frozen=True)
class HostRecord:
    """What one order showed about its host."""

    server_id: int
    owner: int | None
    at: float
    """Unix seconds."""
    good: bool
    reason: str | None = None
    """Why the machine was rejected."""
    boot_s: float | None = None
    """From the order to the login."""
    mbit_s: float | None = None
    """From the machine to here, at least."""
    disk_mb_s: float | None = None
    lost: bool = False
    """Did the machine work and then disappear? Then it is not `good`."""


@dataclass(frozen=True)
class Block:
    """A server, or all servers of an owner, that the user blocked."""

    kind: Kind
    id: int
    at: float = 0.0
    note: str | None = None

    def __str__(self) -> str:
        """The block as a line of a list."""
        name = f"owner:{self.id}" if self.kind == "owner" else str(self.id)
        return f"{name}  # {self.note}" if self.note else name


@dataclass
class HostHistory:
    """The record of one server."""

    server_id: int
    owner: int | None = None
    boots: int = 0
    failures: int = 0
    """All recorded failures; `counting` of them count now."""
    lost: int = 0
    """The failures after which a working machine had disappeared."""
    counting: int = 0
    reason: str | None = None
    """The reason for the last failure."""
    last_at: float = 0.0
    boot_s: float | None = None
    """The latest measurement, like the two below."""
    mbit_s: float | None = None
    disk_mb_s: float | None = None
    blocked: str | None = None
    """Why it is not rented now; None if it may be."""


@dataclass
class HostVerdicts:
    """The verdicts on all servers at one moment, from one read of the store."""

    blocked: dict[tuple[Kind, int], str] = field(default_factory=dict[tuple[Kind, int], str])
    counting: dict[int, int] = field(default_factory=dict[int, int])
    bad_owners: set[int | None] = field(default_factory=set["int | None"])

    def bars(self, server_id: int, owner: int | None) -> str | None:
        """Why a server must not be rented; None if it may be."""
        note = self.blocked.get(("server", server_id))
        if note is None and owner is not None:
            note = self.blocked.get(("owner", owner))
        if note is not None:
            return note
        failed = self.counting.get(server_id, 0)
        return f"failed {failed} times in 7 days" if failed >= BARRED_FROM else None

    def cost_factor(self, server_id: int, owner: int | None) -> float:
        """The factor by which its cost is raised for its rank."""
        failed = self.counting.get(server_id, 0)
        return 1 + COST_FACTOR_PER_FAILURE * (failed or (owner in self.bad_owners))


class Hosts:
    """The memory of one marketplace.

    All methods raise `ConfigError` if the store can't be read or written, and once after it was
    found damaged, so that a blocked host is never silently rented again.
    """

    def __init__(self, store: Store | None = None, place: str = "") -> None:
        self.store, self.place = store or Store(), place

    @transaction
    def note(self, db: sqlite3.Connection, sight: HostRecord) -> None:
        """Record what an order showed; records older than 90 days are deleted."""
        s = sight
        db.execute("DELETE FROM seen WHERE at < ?", (s.at - _KEPT_S,))
        db.execute(
            "INSERT INTO seen VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (self.place, s.server_id, s.owner, s.at, s.good, s.reason, s.boot_s, s.mbit_s,
             s.disk_mb_s, s.lost),
        )  # fmt: skip

    def sights(self) -> list[HostRecord]:
        """All records, oldest first."""
        return self._read(
            HostRecord,
            "SELECT server_id, owner, at, good, reason, boot_s, mbit_s, disk_mb_s, lost "
            "FROM seen WHERE place = ? ORDER BY at, rowid",
        )

    def blocks(self) -> list[Block]:
        """The servers and owners that the user blocked."""
        return self._read(
            Block, "SELECT kind, id, at, note FROM blocked WHERE place = ? ORDER BY kind DESC, id"
        )

    def _read(self, kind: type[T], query: str) -> list[T]:
        if not self.store.begun():
            return []
        self.store.check_loss()
        return self.store.run(
            lambda db: [
                read(kind, dict(row)) for row in db.execute(query, (self.place,)).fetchall()
            ]
        )

    def block(self, blocks: Iterable[Block]) -> None:
        """Block these until they are allowed again."""
        self.store.check_loss()
        self.store.run(
            lambda db: db.executemany(
                "INSERT OR REPLACE INTO blocked VALUES (?, ?, ?, ?, ?)",
                [(self.place, b.kind, b.id, b.at, b.note) for b in blocks],
            )
        )

    @transaction
    def allow(self, db: sqlite3.Connection, kind: Kind, id: int) -> bool:  # noqa: A002 - the field's word
        """Forget the block and the failures of a server, or of an owner; False if there is none."""
        column = "owner" if kind == "owner" else "server_id"
        gone = db.execute(
            "DELETE FROM blocked WHERE place = ? AND kind = ? AND id = ?", (self.place, kind, id)
        ).rowcount
        gone += db.execute(
            f"DELETE FROM seen WHERE place = ? AND {column} = ? AND NOT good",  # noqa: S608 - our own names
            (self.place, id),
        ).rowcount
        return bool(gone)

    def opinion(self, now: float) -> HostVerdicts:
        """The verdicts on servers at `now`, unix seconds."""
        return think(self.sights(), self.blocks(), now)


def think(sights: Iterable[HostRecord], blocks: Iterable[Block], now: float) -> HostVerdicts:
    """Applies the module's rules. Pure."""
    counting: dict[int, int] = defaultdict(int)
    owners: dict[int, set[int]] = defaultdict(set)
    good: set[int | None] = set()
    owner_of: dict[int, int | None] = {}
    lost: dict[int, int] = defaultdict(int)
    for sight in sights:
        if sight.at < now - COUNTS_FOR_S:
            continue
        owner_of[sight.server_id] = sight.owner
        if sight.good:
            counting.pop(sight.server_id, None)
            good.add(sight.owner)
        elif sight.lost:
            lost[sight.server_id] += 1
        else:
            counting[sight.server_id] += 1
    for server_id in counting:
        owner = owner_of[server_id]
        if owner is not None:
            owners[owner].add(server_id)
    bad: set[int | None] = {
        o for o, failing in owners.items() if len(failing) >= _OWNER_FROM and o not in good
    }
    for server_id, count in lost.items():
        counting[server_id] += count
    bad.update(owner for server_id in lost if (owner := owner_of[server_id]) is not None)
    notes: dict[tuple[Kind, int], str] = {
        (b.kind, b.id): b.note or "blocked by you" for b in blocks
    }
    return HostVerdicts(notes, dict(counting), bad)


def records(sights: Iterable[HostRecord], opinion: HostVerdicts) -> list[HostHistory]:
    """One record per known server, the latest last."""
    found: dict[int, HostHistory] = {}
    for s in sights:
        known = found.setdefault(s.server_id, HostHistory(s.server_id))
        known.owner, known.last_at = s.owner, s.at
        known.boots += s.good
        known.failures += not s.good
        known.lost += s.lost
        known.reason = known.reason if s.good else s.reason
        for name in ("boot_s", "mbit_s", "disk_mb_s"):
            value = getattr(s, name)
            if value is not None:
                setattr(known, name, value)
    for known in found.values():
        known.counting = opinion.counting.get(known.server_id, 0)
        known.blocked = opinion.bars(known.server_id, known.owner)
    return sorted(found.values(), key=lambda r: r.last_at)


def read_list(text: str, now: float) -> list[Block]:
    """The blocks in a list: a server's id or ``owner:ID`` per line, with a note after ``#``.

    Raises:
        InvalidInputError: a line is neither; then no line is used.
    """
    found: list[Block] = []
    for number, raw in enumerate(text.lstrip("\ufeff").splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        read = _LINE.fullmatch(line)
        if read is None:
            raise InvalidInputError(
                f"Line {number} ({line[:40]!r}) is not a host; write a server's id or owner:ID, "
                "and a note after #.",
                2,
            )
        kind: Kind = "owner" if read["owner"] else "server"
        found.append(Block(kind, int(read["id"]), now, (read["note"] or "").strip() or None))
    return found
