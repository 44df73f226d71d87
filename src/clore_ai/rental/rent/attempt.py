"""Verifies one order, and emits the events of the attempt.

Within the boot deadline SSH must log in at any of the order's hosts, and the machine must be what
was promised (`verify`). What this shows of the host is recorded.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Callable

from clore_ai._api.steps import NoWayOutError, Sleep, clock, local
from clore_ai._values.lengths import duration
from clore_ai.exceptions import (
    DBError,
    OrderEnded,
    RateLimitError,
    ResponseError,
    TransportError,
    WaitTimeout,
)
from clore_ai.models._base import short_gpu
from clore_ai.models.price import hourly
from clore_ai.models.records import Inspection, RentEvent, RentEventKind
from clore_ai.rental import host_records, preflight
from clore_ai.rental.orders import wait
from clore_ai.rental.rent import spot_offers, verify

if TYPE_CHECKING:
    from clore_ai._api.steps import Done, Flow
    from clore_ai._ssh.target import Target
    from clore_ai.models import Order
    from clore_ai.rental.rent.ranking import Offer
    from clore_ai.rental.rent.wish import Wish
    from clore_ai.rental.session import Session
    from clore_ai.rental.spot.run import SpotEvent

_PAUSE_S = 1.0
_SAID_BY_SSH = 3
"""How often in a row ssh must report a problem on this side: a network may come back meanwhile."""


OnEvent = Callable[[RentEvent], object]


@dataclass(frozen=True)
class Rented:
    """A verified order, and how to log in."""

    order: Order
    target: Target | None
    """None if the order was not waited for (`verify` is ``"none"``), or has ended."""
    offer: Offer | None
    """As it was chosen; None if an earlier order was returned (`client_ref`)."""
    seen: Inspection | None = None
    """The findings of the verification."""
    spent_usd: float = 0.0
    """The cost of the attempts before it."""
    bad: frozenset[int] = frozenset()
    """The servers of those attempts."""


@dataclass
class RentRun:
    """One run of `rent`: the state shared by its attempts."""

    session: Session
    wish: Wish
    on_event: OnEvent
    events: list[RentEvent] = field(default_factory=list["RentEvent"])
    attempt: int = 1
    spent_usd: float = 0.0

    def emit(
        self,
        what: RentEventKind,
        server_id: int,
        order: Order | None = None,
        *,
        price: str = "",
        **more: object,
    ) -> None:
        """Pass an event to the caller, and keep it; `price`: what is tried, in words."""
        order_id = None if order is None else order.id
        event = RentEvent(what, self.attempt, server_id, order_id, **more)  # type: ignore[arg-type]
        event = replace(event, message=_sentence(event, self.wish, price))
        self.events.append(event)
        self.on_event(event)


_WAITS = " Waiting for SSH (real machines take 1-6 minutes)…"
_SENTENCES = {
    "trying": "Renting server {e.server_id}{price}…",
    "created": "Created order {e.order_id} on server {e.server_id}; it is billed from now on."
    "{waits}",
    "up": "SSH logs in after {after}{found}",
    "failed": "Order {e.order_id} on server {e.server_id} did not work: {e.reason} (attempt "
    "{e.attempt} of {attempts}).",
    "raised": "Outbid: the bid of order {e.order_id} is {bid} now.",
    "lost": "Server {e.server_id} is lost ({e.reason}); nothing was rented.",
    "rented": "Rented: order {e.order_id} on server {e.server_id}.",
    "cancelling": "Cancelling order {e.order_id}…",
    "cancelled": "Cancelled: order {e.order_id}.",
    "uncancelled": "Order {e.order_id} is not confirmed as ended. Try again with: clore cancel "
    "{e.order_id}",
}


def _sentence(event: RentEvent, wish: Wish, price: str) -> str:
    return _SENTENCES[event.what].format(
        e=event,
        attempts=wish.attempts,
        price=price,
        bid=hourly(event.usd_per_hour),
        after=duration(event.seconds),
        found=_found(event.seen),
        waits="" if wish.verify == "none" else _WAITS,
    )


def _found(seen: Inspection | None) -> str:
    if seen is None or not seen.gpus:
        return "."
    counted = {name: seen.gpus.count(name) for name in seen.gpus}
    parts = [f"{count}x {short_gpu(name)}" for name, count in counted.items()]
    parts.append(f"driver {seen.driver}")
    if seen.cuda:
        parts.append(f"CUDA {seen.cuda}")
    if seen.disk_mb_s:
        parts.append(f"disk {seen.disk_mb_s:.0f} MB/s")
    if seen.mbit_s:
        parts.append(f"network over {seen.mbit_s:.0f} Mbit/s")
    return f": {', '.join(parts)}."


@dataclass(frozen=True)
class _Bad:
    """Why an order failed."""

    why: str
    hosts: bool = True
    """Is it the host's fault? Not if the network here, or the user, may be the cause."""


@dataclass(frozen=True)
class _In:
    """An order that SSH can log in to."""

    order: Order
    target: Target
    seen: Inspection


def verified(run: RentRun, order: Order, offer: Offer | None) -> Flow[Rented | str]:
    """The verified order, or why it failed; what this shows of the host is recorded.

    Raises:
        CloreAPIError: the problem is on this side, so that it proves nothing about the host.
    """
    wish = run.wish
    begun = (yield from clock()).mono
    keeper = None
    if wish.max_bid_usd is not None:
        keeper = spot_offers.BidKeeper(order, offer, wish)
        keeper.run.on_event = lambda event: _raised(run, order, event)
    until = begun + wish.boots_within_s
    promised = verify.promise(order if offer is None else offer.server)
    owner = order.owner if offer is None else offer.server.owner
    found = yield from _log_in(run, order, promised, until, keeper)
    if isinstance(found, _Bad):
        if found.hosts:
            yield from host_records.note(run.session, order, owner, found.why)
        return found.why
    order, seen = found.order, found.seen
    up_after = (yield from clock()).mono - begun
    run.emit("up", order.server_id or 0, order, seconds=up_after, seen=seen)
    why = "; ".join(seen.faults) or None
    yield from host_records.note(run.session, order, owner, why, seen, up_after)
    if why is not None:
        return why
    if wish.verify_command is not None:
        left = max(1.0, until - (yield from clock()).mono)
        # Not counted against the host: the check itself may be wrong.
        unhappy = yield from verify.own_check(found.target, wish.verify_command, left)
        if unhappy is not None:
            return unhappy
    # The service may report it as pending for a while yet, but SSH has logged in.
    up = order.model_copy(update={"status": "running"})
    return Rented(up, found.target, offer, seen)


def _raised(run: RentRun, order: Order, event: SpotEvent) -> None:
    if event.event == "raised":
        run.emit("raised", order.server_id or 0, order, usd_per_hour=event.usd_per_hour)


def _log_in(
    run: RentRun,
    order: Order,
    promised: verify.Promise,
    until: float,
    keeper: spot_offers.BidKeeper | None,
) -> Flow[_In | _Bad]:
    """Try all hosts of the order until SSH logs in at one of them, or the deadline."""
    session, wish = run.session, run.wish
    bad = _Bad(f"no SSH in {wish.boots_within_s:.0f} s")
    said = 0
    while (left := until - (yield from clock()).mono) > 0:
        try:
            outbid = None if keeper is None else (yield from keeper.keep(session))
            if outbid is not None:
                return _Bad(outbid, hosts=False)
            within = left if keeper is None else min(left, keeper.every_s)
            order = yield from wait.until_ssh(session, order.id, within)
        except NoWayOutError as exc:
            why = f"SSH can't be reached from this machine ({exc.why})."
            raise preflight.Trouble(why, TransportError).error(_ENDS) from exc
        except OrderEnded:
            return _Bad("it ended by itself", hosts=False)
        except WaitTimeout as exc:
            if keeper is not None and (yield from clock()).mono < until:
                continue
            return _Bad("its host is offline") if exc.order.online is False else bad
        except (DBError, RateLimitError, ResponseError, TransportError) as exc:
            bad = _Bad(f"the service could not be asked ({exc})", hosts=False)
            yield Sleep(_PAUSE_S)
            continue
        found = yield from _at_hosts(run, order, promised, until)
        if isinstance(found, _In):
            return found
        done, by_ssh = found
        said = said + 1 if by_ssh else 0
        if done.code == verify.SSH_FAILED or done.errno is not None:
            yield from _stop_if_here(run, surely=said >= _SAID_BY_SSH)
        bad = _Bad((yield from verify.why(session, order, done)))
        yield Sleep(_PAUSE_S)
    return bad


def _at_hosts(
    run: RentRun, order: Order, promised: verify.Promise, until: float
) -> Flow[_In | tuple[Done, bool]]:
    """The first host that SSH logs in at; otherwise how ssh ended at the last host.

    With the latter: does ssh blame this machine for all of them?
    """
    ended: list[Done] = []
    by_ssh = True
    for host in order.ssh_hosts:
        within = max(1.0, until - (yield from clock()).mono)
        target = yield from local(run.session.access.target, order, host)
        seen = yield from verify.inspect(target, run.wish.verify, promised, within)
        if isinstance(seen, Inspection):
            return _In(order, target, seen)
        ended.append(seen)
        line = verify.last_line(seen.err)
        by_ssh = by_ssh and preflight.is_from_ssh(host, target.port, line)
    return ended[-1], by_ssh


_ENDS = (
    "The order is cancelled, no other order is created, and no host is blamed: the problem is "
    "on this side."
)


def _stop_if_here(run: RentRun, *, surely: bool) -> Flow[None]:
    """Stop if ssh could not log in because of a problem on this side."""
    session, wish = run.session, run.wish
    found = yield from preflight.trouble(session, wish.ssh_key, wish.identity)
    if found is None and surely:
        found = preflight.Trouble("ssh has no way out of this machine.", TransportError)
    if found is not None:
        raise found.error(_ENDS)
