"""Keeps each job: a record in the store, and a folder, ``jobs/NUMBER``.

The record holds the job's facts, `log` its output as far as it was read, and `lock` is held by the
process that watches the job: only that process writes record and log. `follower` exists if that is
a background process, and `said` holds that process's messages. No variable of ``--env`` is in any
of them. A job whose folder was moved away is forgotten.
"""

from __future__ import annotations

import json
import math
import re
import secrets
import shutil
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Callable, Literal

from pydantic import TypeAdapter

from clore_ai._ssh.copy import MOST_BYTES
from clore_ai._state.folder import private_folder, unwritable, write_private
from clore_ai._state.lock import FileLock
from clore_ai._state.sqlite.rows import LATEST
from clore_ai._state.store import Store, transaction
from clore_ai._values.kinds import LAST_ID
from clore_ai.exceptions import ConfigError, NotFoundError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Container, Generator
    from pathlib import Path

    from clore_ai.rental.session import Session

State = Literal["new", "running", "ended", "stopped", "lost"]
_OVER = ("ended", "stopped", "lost")
_BEGINS_S = 10.0
"""A job that is younger than this may not be locked yet by the command that makes it."""


@dataclass
class Job:
    """One job. Times are unix seconds of this machine.

    `state`: `new` until it was started on the machine; `ended` by itself with `code`; `stopped` by
    the user; `lost` with its machine. `cancels`: the machine is cancelled at the end.
    """

    id: int
    name: str
    """The name of its folder on the machine."""
    account: str
    order_id: int
    """0 before there is an order."""
    command: list[str]
    folder: str
    work: str
    """The working folder on the machine, below the home folder."""
    outputs: list[str] = field(default_factory=list[str])
    cancels: bool = False
    lost_after_s: float = 300.0
    fetch_every_s: float = 10.0
    max_output: int = MOST_BYTES
    """The most bytes that its outputs may hold in total."""
    max_bid_usd: float | None = None
    """USD per **hour**, without fee: the highest spot bid for its machine; None: leave the bid."""
    state: State = "new"
    code: int | None = None
    begun_at: float = field(default_factory=time.time)
    ended_at: float | None = None
    fetched: bool = True
    """Are its outputs here, as they were at its end?"""
    cancelled: bool = False
    """Has its machine ended?"""
    why: str | None = None
    """Why its order ended under it, in the words of `orders.ending`."""

    @property
    def over(self) -> bool:
        """Has the job ended, as far as is known here?"""
        return self.state in _OVER

    @property
    def unsettled(self) -> bool:
        """Is anything left to do: record its end, fetch its outputs, cancel its machine?"""
        if self.state == "new":  # its command was stopped, or has only just begun
            return self.cancels and not self.cancelled and time.time() - self.begun_at > _BEGINS_S
        if self.cancels:
            return not self.cancelled
        return not self.over or (self.state == "ended" and not self.fetched)

    def row(self, standing: str | None = None) -> dict[str, Any]:
        """The job for ``--json``; `standing`: its state, if it is known better than here."""
        return {
            "id": self.id,
            "order_id": self.order_id,
            "state": standing or self.state,
            "exit": self.code,
            "argv": self.command,
            "folder": self.folder,
            "outputs": self.outputs,
            "fetched": self.fetched,
            "begun_at": self.begun_at,
            "ended_at": self.ended_at,
            "seconds": None if self.ended_at is None else self.ended_at - self.begun_at,
            "cancels": self.cancels,
            "cancelled": self.cancelled,
            "why": self.why,
        }


class Jobs:
    """The jobs in a state folder, with its store.

    All methods raise `ConfigError` if that can't be read or written.
    """

    def __init__(
        self, store: Store, account: str, names: Callable[[], Container[str]] | None = None
    ) -> None:
        if store.folder is None:
            raise ValueError("jobs need a state folder")
        self.store, self.account, self.home = store, account, store.folder
        self._names = names or (lambda: (account,))
        self._folder = self.home / "jobs"
        self._held: dict[int, FileLock] = {}

    @classmethod
    def of(cls, session: Session) -> Jobs:
        """The jobs of a client's account."""
        return cls(session.jobs, session.ledger.keys.key, session.ledger.names)

    @transaction
    def add(self, db: sqlite3.Connection, job_of: dict[str, object]) -> Job:
        """Add a new job with these fields, under the next free number."""
        (latest,) = db.execute("SELECT coalesce(max(id), 0) FROM jobs").fetchone()
        try:
            private_folder(self._folder)
            number = max(latest, *self._numbers(), 0) + 1
            self.folder(number).mkdir(mode=0o700)
        except OSError as exc:
            raise ConfigError(unwritable(self.home, exc)) from exc
        name = f"{number}-{secrets.token_hex(4)}"
        fields: dict[str, Any] = {**job_of, "id": number, "name": name, "account": self.account}
        job = Job(**fields)
        self._save(db, job)
        return job

    def save(self, job: Job) -> None:
        """Write the record."""
        self.store.run(lambda db: self._save(db, job))

    def _save(self, db: sqlite3.Connection, job: Job) -> None:
        db.execute("INSERT OR REPLACE INTO jobs VALUES (?, ?)", (job.id, json.dumps(asdict(job))))

    def drop(self, job: Job) -> None:
        """Forget a job that never started."""
        shutil.rmtree(self.folder(job.id), ignore_errors=True)
        self.store.run(lambda db: db.execute("DELETE FROM jobs WHERE id = ?", (job.id,)))

    def get(self, number: int) -> Job:
        """One job.

        Raises:
            NotFoundError: this account has no job of this number.
            ConfigError: its record is damaged.
        """
        record = self._records(number).get(number) if _NUMBER(str(number)) else None
        job = None if record is None else self._job(number, record)
        if job is None or job.account not in self._names():
            known = ", ".join(str(each.id) for each in self.all()[-5:]) or "none"
            raise NotFoundError(f"There is no job {number} (latest: {known}). See: clore jobs")
        return job

    def all(self) -> list[Job]:
        """The account's jobs, oldest first; damaged records are omitted."""
        found: list[Job] = []
        names = self._names()
        for number, record in self._records().items():
            with suppress(ConfigError):
                job = self._job(number, record)
                if job.account in names:
                    found.append(job)
        return found

    def folder(self, number: int) -> Path:
        """The folder of one job."""
        return self._folder / str(number)

    def log(self, number: int) -> Path:
        """The file of its output; it may not exist yet."""
        return self.folder(number) / "log"

    def take(self, number: int) -> bool:
        """Take the job, to watch it until `leave`; False if another process has it."""
        lock = FileLock(self.folder(number) / "lock")
        mine = lock.try_acquire()
        if mine:
            self._held[number] = lock
        return mine

    def leave(self, number: int) -> None:
        """Leave a job that was taken."""
        self._held.pop(number).release()

    @contextmanager
    def hold(self, number: int) -> Generator[bool]:
        """Take the job for this block; False if another process watches it."""
        mine = self.take(number)
        try:
            yield mine
        finally:
            if mine:
                self.leave(number)

    def handed_over(self, number: int) -> int:
        """The open lock file, for the process that is to watch the job from now on.

        The holder passes the file to that process, and leaves the job.
        """
        write_private(self.mark(number), "")
        return self._held[number].file

    def mark(self, number: int) -> Path:
        """A file that exists while the lock is held by a process that may be called off."""
        return self.folder(number) / "follower"

    def call_off(self, number: int) -> bool:
        """Ask that process to leave, which takes a moment; False if there is none."""
        try:
            self.mark(number).unlink()
        except OSError:
            return False
        return True

    def watched(self, number: int) -> bool:
        """Does any process watch it?"""
        with self.hold(number) as mine:
            return not mine

    def unwatched(self) -> list[Job]:
        """The jobs that are not settled and that no process watches."""
        return [job for job in self.all() if job.unsettled and not self.watched(job.id)]

    def watched_orders(self) -> set[int]:
        """The orders of watched jobs: the watching process ends these at their limits."""
        return {job.order_id for job in self.all() if job.unsettled and self.watched(job.id)}

    def damaged(self) -> list[str]:
        """A sentence on each record, of any account, that can't be read."""
        found: list[str] = []
        for number, record in self._records().items():
            try:
                self._job(number, record)
            except ConfigError as exc:
                found.append(str(exc))
        return found

    def _numbers(self) -> list[int]:
        """The numbers of the folders that exist."""
        try:
            return [int(each.name) for each in self._folder.iterdir() if _NUMBER(each.name)]
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise ConfigError(f"{self._folder} can't be read: {exc.strerror}.") from exc

    def _records(self, number: int | None = None) -> dict[int, object]:
        """The raw records, by number: of this job, or of all."""
        if not self.store.begun():
            return {}
        there = set(self._numbers())
        rows = self.store.run(
            lambda db: db.execute(
                "SELECT id, record FROM jobs WHERE id = coalesce(?, id) ORDER BY id", (number,)
            ).fetchall()
        )
        return {row["id"]: row["record"] for row in rows if row["id"] in there}

    def _job(self, number: int, record: object) -> Job:
        job: Job | None = None
        with suppress(ValueError):
            job = _adapter().validate_json(record, strict=True)  # type: ignore[arg-type]
        if job is None or not _sound(job, number):
            raise ConfigError(
                f"Job {number} can't be read: its record in {self.store.path} is damaged. Its "
                f"machine may still run, see clore orders; to forget the job, move "
                f"{self.folder(number)} away."
            )
        return job


_NUMBER = re.compile(r"[1-9][0-9]{0,8}").fullmatch
_NAME = re.compile(r"[0-9]+-[0-9a-f]{8}").fullmatch


@cache
def _adapter() -> TypeAdapter[Job]:
    return TypeAdapter(Job)


def _sound(job: Job, number: int) -> bool:
    """Are the numbers, times and paths of a record such as we write?"""
    times = (job.begun_at, job.ended_at or 0.0, job.lost_after_s, job.fetch_every_s)
    return (
        job.id == number
        and _NAME(job.name) is not None
        and 0 <= job.order_id <= LAST_ID
        and all(0 <= each < LATEST for each in times)
        and 0 <= (job.max_bid_usd or 0.0) < math.inf
        and job.max_output >= 0
        and all(_inside(each) for each in job.outputs)
        and "\0" not in "".join((job.folder, job.work, *job.command))
    )


def _inside(output: str) -> bool:
    """Is the path below the working folder, as `clore run` requires?"""
    path = PurePath(output)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts
