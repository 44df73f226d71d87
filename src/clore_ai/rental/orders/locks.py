"""Locks that show who is renting: by server and by `client_ref`, shared through the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_ai._api.steps import Flow, Sleep, clock, local
from clore_ai.exceptions import CloreAPIError, ConfigError

if TYPE_CHECKING:
    from contextlib import ExitStack

    from clore_ai.rental.session import Session

LOCK_DEADLINE_S = 120.0
"""How long to wait while another command of the same user rents the same server."""
MOMENT_S = 1.0
"""A command that only checks whether a server's lock is free holds it for an instant."""
_PAUSE_S = 0.2


class BusyError(CloreAPIError):
    """Another command of the same user is renting this server."""


def on_server(server_id: int) -> str:
    """The name of the lock that a command holds while it rents this server."""
    return f"server {server_id}"


def by_renter(server_id: int) -> str:
    """The name of the lock that a command holds while it works on an order there."""
    return f"renter of server {server_id}"


def hold(
    session: Session, locks: ExitStack, name: str, within_s: float = LOCK_DEADLINE_S
) -> Flow[None]:
    """Take a lock, waiting while another command has it; `locks` frees it."""
    lock = yield from local(session.ledger.lock, name)
    locks.callback(lock.release)
    start = (yield from clock()).mono
    while not (yield from local(lock.try_acquire)):
        if (yield from clock()).mono - start > within_s:
            raise ConfigError(
                f"Another command of yours has been busy renting ({name}) for "
                f"{within_s:.0f} s; nothing was rented. Find that command, stop it, and try again."
            )
        yield Sleep(_PAUSE_S)


def hold_server(session: Session, locks: ExitStack, server_id: int, *, waits: bool) -> Flow[None]:
    """Take a server's lock; `locks` frees it.

    Raises:
        BusyError: another command has it, and the caller can choose another server.
        ConfigError: another command has had it for too long.
    """
    if waits:
        yield from hold(session, locks, on_server(server_id))
        return
    try:
        yield from hold(session, locks, on_server(server_id), MOMENT_S)
    except ConfigError as exc:
        raise BusyError(f"Another command of yours is renting server {server_id}.") from exc
