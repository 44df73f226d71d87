"""Who is busy renting: a lock a server and a `client_ref`, among all who share the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_ai._api.steps import Flow, Sleep, clock
from clore_ai.exceptions import ConfigError

if TYPE_CHECKING:
    from contextlib import ExitStack

    from clore_ai.rental.session import Session

LOCK_DEADLINE_S = 120.0
"""How long another command of the same user may be busy with the same server."""
_PAUSE_S = 0.2


def on_server(server_id: int) -> str:
    """The name of the lock that whoever rents this server holds meanwhile."""
    return f"server {server_id}"


def by_renter(server_id: int) -> str:
    """The name of the lock that a command holds as long as it is busy with an order there."""
    return f"renter of server {server_id}"


def hold(
    session: Session, locks: ExitStack, name: str, within_s: float = LOCK_DEADLINE_S
) -> Flow[None]:
    """Take a lock, waiting for whoever has it; it is freed with `locks`."""
    lock = session.ledger.lock(name)
    locks.callback(lock.release)
    start = (yield from clock()).mono
    while not lock.try_acquire():
        if (yield from clock()).mono - start > within_s:
            raise ConfigError(
                f"Another command of yours has been busy renting ({name}) for "
                f"{within_s:.0f} s; nothing was rented. Look for it, end it, and try again."
            )
        yield Sleep(_PAUSE_S)
