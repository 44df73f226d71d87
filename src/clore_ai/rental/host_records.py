"""Records what an order shows about its host; a failure to record stops nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_ai._api.steps import clock, local
from clore_ai._state.hosts import HostRecord
from clore_ai.exceptions import ConfigError

if TYPE_CHECKING:
    from clore_ai._api.steps import Flow
    from clore_ai.models import Order
    from clore_ai.models.records import Inspection
    from clore_ai.rental.session import Session


def note(
    session: Session,
    order: Order,
    owner: int | None,
    why: str | None,
    seen: Inspection | None = None,
    boot_s: float | None = None,
) -> Flow[None]:
    """Record how a verification ended; `why`: the reason why the machine failed."""
    if order.server_id is None:
        return
    sight = HostRecord(
        order.server_id,
        owner,
        (yield from clock()).wall,
        why is None,
        why,
        boot_s,
        None if seen is None else seen.mbit_s,
        None if seen is None else seen.disk_mb_s,
    )
    yield from local(_keep, session, sight)


def lost(session: Session, order: Order, why: str) -> Flow[None]:
    """A working machine is gone, and neither this side nor the service is the cause."""
    if order.server_id is not None:
        at = (yield from clock()).wall
        sight = HostRecord(order.server_id, order.owner, at, good=False, reason=why, lost=True)
        yield from local(_keep, session, sight)


def _keep(session: Session, sight: HostRecord) -> None:
    try:
        session.hosts.note(sight)
    except ConfigError as exc:
        session.note_trouble(str(exc))
