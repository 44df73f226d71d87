"""The keeper (`jobs.watch.turns`): one background process per key that ends orders at their limits.

A command that leaves orders with a limit behind starts the keeper, and so does the next command
that finds such orders without one. The keeper outlives its terminal and ends with the last of these
orders. It writes to its log, which holds 1 MB at most.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from clore_ai import _signals
from clore_ai.cli import output
from clore_ai.cli.supervise import at_limits
from clore_ai.jobs import Jobs
from clore_ai.jobs.watch import turns as limit_turns

if TYPE_CHECKING:
    from pathlib import Path

    from clore_ai.client import CloreAI
    from clore_ai.rental.limits.enforce import Keeper

_MOST_LOG = 1 << 20
_HERE = ("127.0.0.1", "localhost", "::1")
_GONE_S = 60.0
"""Seconds without an answer after which a local marketplace counts as stopped; it bills nobody."""


def ensure_running(api: CloreAI) -> None:
    """Start the keeper if orders with a limit have none. This never fails."""
    from clore_ai.exceptions import CloreAPIError

    if api.api_key is None or api.ledger.folder is None or os.name == "nt":
        return
    unkept: list[int] = []
    try:
        if api.ledger.begun():
            unkept = limit_turns.unkept(api.session, Jobs.of(api.session))
            if unkept:
                limit_turns.start_keeper(api.session)
    except (OSError, CloreAPIError) as exc:
        if unkept:
            listed = " ".join(map(str, unkept))
            output.note(
                f"Nothing ends these orders at their limits: {listed}. The background process "
                f"can't be started ({exc}). Keep this running instead: clore reap --every 60s"
            )


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
        log = limit_turns.keeper_log(api.session)
        mine = api.ledger.lock(limit_turns.KEEPER_LOCK)
        while True:
            at_limits.loop(api, keeper, goes_on=lambda: _goes_on(api, keeper, log))
            if lock >= 0:
                os.close(lock)
                lock = -1
            mine.release()
            # A command that found the lock taken may have made an order just now.
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
