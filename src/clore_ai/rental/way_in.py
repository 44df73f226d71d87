"""How to log in to an order by SSH, now: `clore ssh`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

from clore_ai._api.steps import Flow, local
from clore_ai.exceptions import InvalidInputError, WaitTimeout
from clore_ai.rental.orders import wait

if TYPE_CHECKING:
    from clore_ai._ssh.target import Target
    from clore_ai.rental.session import Session


def target(
    session: Session,
    order_id: int,
    user: str = "root",
    on_message: Callable[[str], object] = lambda _sentence: None,
) -> Flow[Target]:
    """The first of the order's hosts where SSH answers, and what OpenSSH needs to log in.

    `on_message`: called with anything odd about it.

    Raises:
        NotFoundError: there is no such order.
        InvalidInputError: it has no port 22.
        WaitTimeout: its SSH does not answer yet; carries the order, which is billed.
    """
    order = yield from wait.find(session, order_id)
    if order.ssh_port is None and order.status == "running":
        raise InvalidInputError(
            f"Order {order.id} has no port 22, so no SSH; rent with --port 22:tcp.", 2
        )
    if order.ssh_port is None or not order.ssh_hosts:
        raise WaitTimeout(
            f"Order {order.id} has no SSH address yet (status: {order.status}); try again in a "
            "minute, or rent with --wait.",
            order,
        )
    host = yield from wait.greets(session, order)
    if host is None:
        raise WaitTimeout(
            f"SSH of order {order.id} does not answer yet at {order.ssh_address}; "
            f"machines take 1-6 minutes. It is billed meanwhile: clore cancel {order.id}",
            order,
        )
    odd: list[str] = []
    found = yield from local(session.access.target, order, host, user, odd.append)
    for sentence in odd:
        on_message(sentence)
    return found
