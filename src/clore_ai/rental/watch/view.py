"""The flow behind `clore monitor` and `client.monitor`: the orders, from look to look.

A step waits for the next look at the orders, or for readings of their GPUs, and returns an
`OrdersView`. A failure of the network or the service is reported once, and retried. The caller
reads the GPUs (`Readings`): this module opens nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Callable, Protocol

from clore_ai._api.steps import Flow, Sleep, clock, local
from clore_ai.exceptions import AuthError, CloreAPIError, NotFoundError
from clore_ai.rental.market import rates
from clore_ai.rental.watch import ORDERS_EVERY_S, ends
from clore_ai.rental.watch.orders import Monitor, OrderEvent, WatchedOrder, poll

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clore_ai._api.steps import Instant
    from clore_ai._ssh.target import Target
    from clore_ai.models.records import GpuReading
    from clore_ai.rental.session import Session

READ_EVERY_S = 5.0
"""How often GPUs are read."""
_WALLETS_EVERY_S = 300.0
_TICK_S = 0.5
_FIRST_READINGS_S = 15.0
_INF = float("inf")


class Readings(Protocol):
    """Reads the GPUs of orders continuously, and keeps the readings until they are fetched."""

    def only(self, order_ids: Sequence[int]) -> None:
        """End the connections to all other orders."""

    def follow(self, order_id: int, targets: Sequence[Target]) -> None:
        """Keep a connection to this order, at any of its `targets`; without targets, end it."""

    def reports(self, within_s: float) -> list[GpuReading]:
        """The readings since the last call."""
        ...

    def close(self) -> None:
        """End all connections."""


@dataclass(frozen=True)
class OrdersView:
    """The orders at a moment, and the events since the view before."""

    orders: tuple[WatchedOrder, ...]
    """The user's active orders, or those of them that were named."""
    events: tuple[OrderEvent, ...]
    at: float
    """Unix seconds by the service's clock."""
    looked: bool
    """Was the service asked? If not, only the GPUs were read."""


@dataclass
class OrdersWatch:
    """The orders to watch, and the interval."""

    monitor: Monitor = field(default_factory=Monitor)
    every_s: float = ORDERS_EVERY_S
    for_s: float = _INF
    most_s: float = _INF
    """A view comes at least this often, even if nothing has happened."""
    once: bool = False
    """Look once, end what is due, and wait up to 15 s until each order's GPUs were read."""
    readings: Readings | None = None
    on_message: Callable[[str], object] = lambda _sentence: None
    """Called with a sentence on anything odd about the way into an order."""
    ends: ends.Ends = field(default_factory=ends.Ends)
    due: float | None = None
    """When to look next, on the monotonic clock; None: now."""
    until: float | None = None
    wallets_due: float | None = None
    looks: int = 0
    """How many looks have succeeded."""
    failure: CloreAPIError | None = None
    """The error of the last look, if it failed."""

    @property
    def over(self) -> bool:
        """Have all orders ended that were named?"""
        return bool(self.looks and self.monitor.ids and not self.monitor.seen)

    def close(self) -> None:
        """Stop reading the GPUs."""
        if self.readings is not None:
            self.readings.close()


def step(session: Session, state: OrdersWatch) -> Flow[OrdersView | None]:
    """Wait until something happens, or for `most_s`; None at the end.

    The end: the time is over, all orders that were named have ended, or a single look is complete.
    Orders that are due to end are ended first, as often as something is read.

    Raises:
        NotFoundError: an order that was named does not exist, or has ended.
        AuthError: the key is refused.
        CloreAPIError: a single look failed.
    """
    start = now = yield from clock()
    if state.until is None:
        state.until = now.mono + state.for_s
    events: list[OrderEvent] = []
    single = state.once and state.looks > 0
    if single and not (yield from local(_unread, state)):
        return None
    while True:
        if now.mono >= state.until or state.over:
            return None
        if not single and (ended := (yield from _end(session, state))):
            events += ended
            now = yield from clock()
        due = now.mono if state.due is None else state.due
        looked = now.mono >= due
        events += _read(state)
        if looked:
            events += yield from _look(session, state, now)
        if looked and state.once:
            events += yield from _end_single(session, state)
        if looked or events or now.mono - start.mono >= state.most_s:
            break
        ends = min(due, state.until, start.mono + state.most_s)
        yield Sleep(max(0.0, min(_TICK_S, ends - now.mono)))
        now = yield from clock()
    orders = tuple(replace(seen) for seen in state.monitor.seen.values())
    return OrdersView(orders, tuple(events), now.wall, looked and state.failure is None)


def _end(session: Session, state: OrdersWatch) -> Flow[list[OrderEvent]]:
    """End the orders that are due to end, as of the last look; what became of them."""
    if state.due is None:  # the ledger may not know yet that an order has ended
        return []
    return (yield from ends.end(session, state.ends, state.monitor, state.on_message))


def _end_single(session: Session, state: OrdersWatch) -> Flow[list[OrderEvent]]:
    """As `_end`, after a single look; from now on only the GPUs are read."""
    if state.failure is not None:
        raise state.failure
    events = yield from _end(session, state)
    state.due, state.until = _INF, (yield from clock()).mono + _FIRST_READINGS_S
    return events


def _unread(state: OrdersWatch) -> bool:
    """Is there an order whose GPUs are neither read nor known to be unreadable?"""
    return state.readings is not None and any(
        not each.gpus and not each.why and each.order.ssh_command is not None
        for each in state.monitor.seen.values()
    )


def _look(session: Session, state: OrdersWatch, now: Instant) -> Flow[list[OrderEvent]]:
    wallets = state.wallets_due is None or now.mono >= state.wallets_due
    state.due = now.mono + state.every_s
    try:
        events = yield from poll(session, state.monitor, wallets=wallets)
    except AuthError:
        raise
    except CloreAPIError as exc:
        known, state.failure = state.failure, exc
        return [] if str(known) == str(exc) else [OrderEvent("trouble", None, f"{exc} Going on.")]
    state.failure = None
    state.looks += 1
    if wallets:
        state.wallets_due = now.mono + _WALLETS_EVERY_S
    if state.looks == 1:
        _known(state.monitor)
    orders = [seen.order for seen in state.monitor.seen.values()]
    for order_id, price in (yield from rates.prices(session, orders)).items():
        state.monitor.seen[order_id].price = price
    for sentence in (yield from local(_follow, session, state)):
        state.on_message(sentence)
    return events


def _known(monitor: Monitor) -> None:
    missing = sorted((monitor.ids or frozenset()) - set(monitor.seen))
    if missing:
        raise NotFoundError(
            f"No order {', '.join(map(str, missing))} of yours runs. See: clore orders"
        )


def _follow(session: Session, state: OrdersWatch) -> list[str]:
    """Start reading these orders' GPUs; returns sentences on anything odd about their access."""
    odd: list[str] = []
    if state.readings is None:
        return odd
    state.readings.only(list(state.monitor.seen))
    for order_id, seen in state.monitor.seen.items():
        order = seen.order
        hosts = order.ssh_hosts if order.ssh_port is not None else []
        targets = [session.access.target(order, host, on_message=odd.append) for host in hosts]
        state.readings.follow(order_id, targets)
    return odd


def _read(state: OrdersWatch) -> list[OrderEvent]:
    events: list[OrderEvent] = []
    for report in state.readings.reports(0.0) if state.readings else ():
        if report.gpus:
            events += state.monitor.feed_gpus(report.order_id, report.gpus, report.mono)
        else:
            events += state.monitor.feed_ssh(report.order_id, report.mono, up=False, why=report.why)
    return events
