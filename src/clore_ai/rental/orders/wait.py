"""Wait until the SSH port of an order answers (service.md, 3: 1-6 minutes, or never)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_ai._api.steps import Flow, Instant, NoWayOutError, Sleep, clock, local, probe
from clore_ai.exceptions import (
    CloreAPIError,
    ConfigError,
    InvalidInputError,
    NotFoundError,
    OrderUnlisted,
    RateLimitError,
    TransportError,
    WaitTimeout,
)
from clore_ai.rental.orders import BOOT_DEADLINE_S
from clore_ai.rental.orders.reconcile import end_of, orders
from clore_ai.rental.spend.lease import words

if TYPE_CHECKING:
    from clore_ai.models import Order
    from clore_ai.rental.session import Session

_RECHECK_S = 5.0
_HERE_FOR_S = 3.0
"""How long connections must fail on this side: a network that comes back needs some time."""
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0
_LATE_BY = 0.1
"""SSH is noticed late by at most this share of the wait, within the two pauses above."""
_PASSING = (OrderUnlisted, RateLimitError, TransportError)
NO_SSHD = "The image may be the cause: one without sshd, or with a CMD of its own, never gets SSH."


def within(name: str, asked_s: float | None, longest_s: float) -> float:
    """How long an order may take to boot: as asked; by default 480 s, or its lease if shorter.

    Args:
        name: of the option, for the error.
        asked_s: None for the default.
        longest_s: how long the order lives; `inf` without an end.

    Raises:
        InvalidInputError: `asked_s` is longer than the order lives.
    """
    if asked_s is None:
        return min(BOOT_DEADLINE_S, longest_s)
    if asked_s > longest_s:
        raise InvalidInputError(
            f"{name} {words(asked_s)} is longer than the lease of {words(longest_s)}: the order "
            "could end before its server is up. Give a shorter one, or a longer lease.",
            2,
        )
    return asked_s


def until_ssh(session: Session, order_id: int, timeout_s: float = BOOT_DEADLINE_S) -> Flow[Order]:
    """The order, running, once an SSH server greets at its port; that host comes first.

    All hosts of `pub_cluster` are tried. The order's existence is checked every 5 s. With a
    jump host in `ssh_options` the order is returned once it has an address; ssh does the rest.

    Raises:
        NotFoundError: there is no such order.
        OrderEnded: it ended meanwhile; carries the order.
        WaitTimeout: no answer in `timeout_s`; carries the order, which is still billed.
        NoWayOutError: this machine is the cause; the order is still billed.
        InvalidInputError: the order has no port 22.
    """
    start = (yield from clock()).mono
    order, checked = yield from _first(session, order_id, start)
    stuck_since: float | None = None
    while True:
        now = (yield from clock()).mono
        if order.ssh_port is None or now - checked.mono >= _RECHECK_S:
            order, checked = yield from _check(session, order_id, order)
        left = timeout_s - (now - start)
        if order.ssh_port is not None:
            host = None
            try:
                host = yield from greets(session, order, max(0.1, min(5.0, left)))
                stuck_since = None
            except NoWayOutError as exc:
                stuck_since = now if stuck_since is None else stuck_since
                if now - stuck_since >= _HERE_FOR_S or left <= 0:
                    exc.args = (f"{exc} Order {order_id} is still billed: clore cancel {order_id}",)
                    raise
            if host is not None:
                order.ssh_hosts.remove(host)
                order.ssh_hosts.insert(0, host)
                order.status = "running"  # the service may say deployed for a while
                return order
        elif order.status == "running":
            raise InvalidInputError(
                f'Order {order_id} has no port 22, so no SSH; rent with ports={{"22": "tcp"}}.', 2
            )
        if left <= 0:
            raise WaitTimeout(
                f"Order {order_id} on server {order.server_id} did not answer on SSH in "
                f"{timeout_s:.0f} s. {NO_SSHD} The order is still billed: wait longer, or run "
                f"clore cancel {order_id}",
                order,
            )
        yield Sleep(min(max(_SHORTEST_PAUSE_S, (now - start) * _LATE_BY), _LONGEST_PAUSE_S))


def greets(session: Session, order: Order, timeout_s: float = 5.0) -> Flow[str | None]:
    """The first host of the order where SSH greets; with a jump host, the first host.

    Raises:
        NoWayOutError: this machine is the reason why none can be reached.
    """
    if order.ssh_port is None or session.access.jumps:
        return order.ssh_host if order.ssh_port is not None else None
    return (yield from probe(order.ssh_hosts, order.ssh_port, timeout_s))


def find(
    session: Session, order_id: int, *, include_completed: bool = False, known: bool = False
) -> Flow[Order]:
    """One of the user's orders.

    `known`: such an order existed, as far as the caller knows.

    Raises:
        NotFoundError: it does not exist, or is gone (`rental.gone`).
        OrderUnlisted: it is not in the list, which may be temporary.
    """
    rows = yield from orders(session, include_completed=include_completed)
    for order in rows:
        if order.id == order_id:
            return order
    if known or rows.unread or (yield from local(_is_known, session, order_id)):
        if not include_completed:  # only the whole list shows which orders ended
            rows = yield from orders(session, include_completed=True)
        if session.listings.of(order_id) == "unknown":
            raise OrderUnlisted(
                f"The service does not list order {order_id} now; it may still run and be billed."
            )
    active = ", ".join(str(o.id) for o in rows if o.active) or "none"
    raise NotFoundError(f"You have no order {order_id} (active: {active}). See: clore orders")


def listed(session: Session, order_id: int, *, known: bool = False) -> Flow[Order]:
    """As `find`, ended orders included; an order that is missing once is looked for again.

    Raises:
        NotFoundError, OrderUnlisted: as `find`; the latter after `session.look_for_s`.
    """
    start = (yield from clock()).mono
    while True:
        try:
            return (yield from find(session, order_id, include_completed=True, known=known))
        except OrderUnlisted:
            if (yield from clock()).mono - start >= session.look_for_s:
                raise
        yield Sleep(_RECHECK_S)


def _is_known(session: Session, order_id: int) -> bool:
    """Does it run, as far as the ledger knows?"""
    try:
        intent = session.ledger.by_order(order_id)
    except ConfigError as exc:
        session.note_trouble(str(exc))
        return False
    return intent is not None and intent.runs


def _first(session: Session, order_id: int, start: float) -> Flow[tuple[Order, Instant]]:
    """The order; one that this client just made may take a while to be listed (service.md, 3)."""
    made = (yield from local(session.ledger.by_order, order_id)) is not None
    while True:
        try:
            return (yield from _check(session, order_id, None))
        except (NotFoundError, OrderUnlisted) as exc:
            if not made or (yield from clock()).mono - start >= session.look_for_s:
                raise NotFoundError(str(exc)) from exc
        yield Sleep(_LONGEST_PAUSE_S)


def _check(session: Session, order_id: int, known: Order | None) -> Flow[tuple[Order, Instant]]:
    try:
        order = yield from find(session, order_id, include_completed=True, known=known is not None)
    except NotFoundError:
        if known is None:
            raise
        raise (yield from end_of(session, known)) from None
    except CloreAPIError as exc:
        if known is None or not (exc.maybe_acted or isinstance(exc, _PASSING)):
            raise
        order = known  # a network error says nothing of the order: wait on
    if not order.active:
        raise (yield from end_of(session, order))
    return order, (yield from clock())
