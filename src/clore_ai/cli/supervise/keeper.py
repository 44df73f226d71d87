"""The keeper (`jobs.reap.keeper`), the background process that ends orders at their limits."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from clore_ai import _signals
from clore_ai.cli import output
from clore_ai.cli.supervise import reaping
from clore_ai.jobs.reap import keeper

if TYPE_CHECKING:
    from clore_ai import CloreAI


def ensure_running(api: CloreAI) -> None:
    """Start the keeper if orders with a limit have none. This never fails."""
    failure = keeper.ensure(api.session)
    if failure is not None:
        output.note(failure)


@click.command()
@click.argument("lock", type=int)
def command(lock: int) -> None:
    """Keep the limits of the key's orders in the background; its lock is this open file."""
    from clore_ai import CloreAI

    os.set_inheritable(lock, False)
    _signals.interrupt_by_any()
    report = reaping.Reporter(as_json=False)
    with suppress(KeyboardInterrupt), CloreAI(state=True) as api:
        api.in_loop(lambda engine: keeper.keep(engine, lock, api.base_url, report))


if __name__ == "__main__":
    from clore_ai.cli import errors

    sys.exit(errors.run(command, sys.argv[1:]))
