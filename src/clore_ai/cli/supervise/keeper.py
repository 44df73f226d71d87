"""The keeper: one process in the background a key, which ends orders at their limits.

A command that leaves orders with a limit behind starts it, and so does the next command that finds
such orders unkept. It outlives its terminal and ends with the last of these orders. Its lock is
handed to it as an open file, so that there are never two. What it has to say goes into its log,
which holds 1 MB at most; it ends when that file is removed. The key is on no command line.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from clore_ai import _signals
from clore_ai._state.lock import FileLock
from clore_ai.cli import output
from clore_ai.cli.supervise import at_limits
from clore_ai.jobs import Jobs, background, left

if TYPE_CHECKING:
    from collections.abc import Generator

    from clore_ai.client import CloreAI
    from clore_ai.rental.limits.enforce import Keeper

LOCK = "keeper"
_MOST_LOG = 1 << 20
_HERE = ("127.0.0.1", "localhost", "::1")
_GONE_S = 60.0
"""A marketplace of this machine that does not answer for so long was stopped, and bills nobody."""
_LEAVES_S, _LOOK_S = 10.0, 0.1
_NOT_FOR_IT = ("CLORE_DEBUG", "CLORE_CURL")


def see_to(api: CloreAI) -> None:
    """Have orders kept that have a limit and that nobody keeps. This never fails."""
    from clore_ai.exceptions import CloreAPIError

    if api.api_key is None or api.ledger.folder is None or os.name == "nt":
        return
    unkept: list[int] = []
    try:
        if api.ledger.begun():
            unkept = left.unkept(api.session, Jobs.of(api.session))
            if unkept:
                _start(api)
    except (OSError, CloreAPIError) as exc:
        if unkept:
            listed = " ".join(map(str, unkept))
            output.note(
                f"Nothing ends these orders at their limits: {listed}. The background process "
                f"can't be started ({exc}). Keep this running instead: clore reap --every 60s"
            )


def runs(api: CloreAI) -> bool:
    """Is there one, or a `clore reap --every`?"""
    return api.ledger.held(LOCK)


@contextmanager
def instead(api: CloreAI) -> Generator[None]:
    """In this block the caller keeps the limits; a process in the background ends first."""
    lock = api.ledger.lock(LOCK)
    until = time.monotonic() + _LEAVES_S
    try:
        while not lock.try_acquire() and time.monotonic() < until:
            log_of(api).unlink(missing_ok=True)
            time.sleep(_LOOK_S)
        yield
    finally:
        lock.release()


def log_of(api: CloreAI) -> Path:
    """Where it says what it did."""
    from clore_ai._state.folder import folder_in

    ledger = api.ledger
    return folder_in((ledger.folder or Path()).absolute(), "keepers") / f"{ledger.keys.key}.log"


def _start(api: CloreAI) -> None:
    lock = api.ledger.lock(LOCK)
    if isinstance(lock, FileLock) and lock.try_acquire():
        try:
            log, words = log_of(api), [__name__, str(lock.file)]
            background.spawn(words, lock.file, log, log.parent.parent, without=_NOT_FOR_IT)
        finally:
            lock.release()


@click.command()
@click.argument("lock", type=int)
def command(lock: int) -> int:
    """Keep the limits of the key's orders in the background; its lock is this open file."""
    from clore_ai.client import CloreAI
    from clore_ai.rental.limits.enforce import Keeper

    os.set_inheritable(lock, False)
    _signals.interrupt_by_any()
    with suppress(KeyboardInterrupt), CloreAI(state=True) as api:
        keeper = Keeper(mine=lambda intent: intent.enforced == "always")
        log = log_of(api)
        mine = api.ledger.lock(LOCK)
        while True:
            at_limits.loop(api, keeper, goes_on=lambda: _goes_on(api, keeper, log))
            if lock >= 0:
                os.close(lock)
                lock = -1
            mine.release()
            # An order that was made just now, by a command that found the lock taken.
            if not _goes_on(api, keeper, log) or not mine.try_acquire():
                return 0
    return 0


def _goes_on(api: CloreAI, keeper: Keeper, log: Path) -> bool:
    try:
        if log.stat().st_size > _MOST_LOG:
            os.truncate(log, 0)
    except OSError:
        return False
    failed_at = keeper.failed_at
    if failed_at is not None and urlsplit(api.base_url).hostname in _HERE:
        gone = keeper.failure is not None and keeper.failure.status is None
        if gone and time.monotonic() - failed_at > _GONE_S:
            return False
    return bool(keeper.leased(api.session))


if __name__ == "__main__":
    from clore_ai.cli import errors

    sys.exit(errors.run(command, sys.argv[1:]))
