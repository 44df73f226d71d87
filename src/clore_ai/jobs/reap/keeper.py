"""The keeper: one background process per key that ends orders at their limits.

A command that leaves orders with a limit behind starts the keeper, and so does the next command
that finds such orders without one. It inherits its lock as an open file, so there are never two. It
outlives its terminal and ends with the last of these orders, or when its log is removed. The key is
on no command line.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from clore_ai._api.steps import Flow, local
from clore_ai._state.folder import folder_in
from clore_ai._state.lock import FileLock
from clore_ai.exceptions import CloreAPIError
from clore_ai.jobs.reap import turns
from clore_ai.jobs.reap.reaper import Reaper
from clore_ai.jobs.store import Jobs
from clore_ai.jobs.supervise import background
from clore_ai.rental.limits import unattended
from clore_ai.rental.limits.enforce import Keeper

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from clore_ai.jobs.engine import Engine
    from clore_ai.jobs.reap.reaper import OnEvent
    from clore_ai.rental.limits.unattended import Unattended
    from clore_ai.rental.session import Session

PROGRAM = "clore_ai.cli.supervise.keeper"
"""The module that the keeper's process runs."""
LOCK = "keeper"
_LEAVES_S, _LOOK_S = 10.0, 0.1
_NOT_FOR_IT = ("CLORE_DEBUG", "CLORE_CURL")
_MOST_LOG = 1 << 20
_HERE = ("127.0.0.1", "localhost", "::1")
_GONE_S = 60.0
"""Seconds without an answer after which a local marketplace counts as stopped; it bills nobody."""


def ensure(session: Session) -> str | None:
    """Start the keeper if orders with a limit have none; if that fails, a sentence on it."""
    ledger = session.ledger
    if not session.rules.has_key or ledger.folder is None or os.name == "nt":
        return None
    unkept: list[int] = []
    try:
        if ledger.begun():
            unkept = turns.unkept(session, Jobs.of(session))
            if unkept:
                _start(session)
    except (OSError, CloreAPIError) as exc:
        if unkept:
            return (
                f"Nothing ends these orders at their limits: {' '.join(map(str, unkept))}. The "
                f"background process can't be started ({exc}). Keep this running instead: "
                "clore reap --every 60s"
            )
    return None


def _start(session: Session) -> None:
    """Start the keeper, unless it or a `clore reap --every` already runs.

    Raises:
        OSError, ConfigError: it can't be started.
    """
    lock = session.ledger.lock(LOCK)
    if isinstance(lock, FileLock) and lock.try_acquire():
        try:
            its_log = log(session)
            words = [PROGRAM, str(lock.file)]
            background.spawn(words, lock.file, its_log, its_log.parent.parent, without=_NOT_FOR_IT)
        finally:
            lock.release()


@asynccontextmanager
async def replaced(engine: Engine) -> AsyncGenerator[None]:
    """Within this block the caller enforces the limits; a running keeper ends first."""
    lock = await engine.local(engine.session.ledger.lock, LOCK)
    until = time.monotonic() + _LEAVES_S
    try:
        while not await engine.local(lock.try_acquire) and time.monotonic() < until:
            await engine.local(lambda: log(engine.session).unlink(missing_ok=True))
            await asyncio.sleep(_LOOK_S)
        yield
    finally:
        lock.release()


def log(session: Session) -> Path:
    """The log file of the keeper."""
    ledger = session.ledger
    return folder_in((ledger.folder or Path()).absolute(), "keepers") / f"{ledger.keys.key}.log"


def standing(session: Session) -> Flow[Unattended]:
    """What runs `clore reap` now, and whether the keeper runs."""
    found, its_log = (yield from unattended.status()), (yield from local(log, session))
    runs = yield from local(session.ledger.held, LOCK)
    how = "is running" if runs else "is not running; the next command that needs it starts it"
    notes = [*found.notes, f"The background process of this key {how}."]
    if (yield from local(its_log.exists)):
        notes.append(f"The log of the background process: {its_log}")
    return replace(found, notes=tuple(notes), keeper=runs)


async def keep(engine: Engine, inherited: int, base_url: str, on_event: OnEvent) -> None:
    """End the key's orders at their limits until none is left; the keeper's process does this.

    Args:
        engine: of the client.
        inherited: the open file of the lock; a negative number if there is none.
        base_url: the address of the service.
        on_event: called with each event.
    """
    session = engine.session
    keeper = Keeper(mine=lambda intent: intent.enforced == "always")
    is_local = urlsplit(base_url).hostname in _HERE
    its_log = await engine.local(log, session)
    mine = await engine.local(session.ledger.lock, LOCK)

    def goes_on() -> bool:
        return _goes_on(session, keeper, its_log, is_local=is_local)

    while True:
        await Reaper(engine, keeper, on_event).loop(goes_on)
        if inherited >= 0:
            os.close(inherited)
            inherited = -1
        mine.release()
        # A command that found the lock taken may have made an order just now.
        if not await engine.local(goes_on) or not await engine.local(mine.try_acquire):
            return


def _goes_on(session: Session, keeper: Keeper, its_log: Path, *, is_local: bool) -> bool:
    try:
        if its_log.stat().st_size > _MOST_LOG:
            os.truncate(its_log, 0)
    except OSError:
        return False
    failed_at = keeper.failed_at
    if failed_at is not None and is_local:
        gone = keeper.failure is not None and keeper.failure.status is None
        if gone and time.monotonic() - failed_at > _GONE_S:
            return False
    return bool(keeper.leased(session))
