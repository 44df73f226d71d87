"""Why does a job's machine not answer: because of its host, or because of this side?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_ai._api import steps
from clore_ai.exceptions import CloreAPIError, OrderEnded, TransportError
from clore_ai.rental import host_records, preflight

if TYPE_CHECKING:
    from clore_ai.jobs.engine import Engine
    from clore_ai.models import Order


class HostLost(OrderEnded):
    """The machine is gone with its host; its order may still be listed and billed."""


async def held_against(engine: Engine, gone: HostLost) -> None:
    """Record the failure of the host."""
    why = "lost during a job"
    await engine.drive(host_records.lost(engine.session, gone.order, why))


async def wrong_here(engine: Engine, order: Order, message: str) -> CloreAPIError | None:
    """The problem on this side that keeps us from the machine; None if there is none.

    `message`: the error of the connection.
    """
    session = engine.session
    identity = await engine.local(session.access.identity, order.id)
    found = await engine.drive(preflight.trouble(session, None, identity))
    if found is not None:
        return found.error("The problem is on this side, not with the machine.")
    if order.ssh_port is None or not order.ssh_hosts or session.access.jumps:
        return None
    try:
        await engine.drive(steps.probe(order.ssh_hosts, order.ssh_port))
    except steps.NoWayOutError as exc:
        return exc
    if any(preflight.is_from_ssh(host, order.ssh_port, message) for host in order.ssh_hosts):
        return TransportError("ssh has no way out of this machine.")
    return None
