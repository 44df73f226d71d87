"""Creates one order, exactly once, although the answer has no id (service.md, 3).

``{"code":0}`` names no order, and a time-out or HTTP 500 may have created one. So, with a lock on
the server among all processes that share the ledger:

1. record the known orders, and settle the intents of earlier requests for this server;
2. write the intent to the ledger, on disk;
3. check the budgets: after the intent is written, so that two rentals at once see each other;
4. send the order, and retry only if the service certainly did not act;
5. unless the answer is a clean refusal, look for a new order on the server, for up to 30 s;
6. return the order if it is found; raise the refusal if it was refused; otherwise raise
   `OrderUncertain`, and leave the intent open until a later look settles it.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clore_ai._api import endpoints
from clore_ai._api.steps import Flow, Sleep, at_last, clock, local, request
from clore_ai.exceptions import CloreAPIError, ConfigError, OrderUncertain
from clore_ai.models.records import Intent
from clore_ai.rental.orders import as_asked, claim, reconcile, recover
from clore_ai.rental.orders.locks import MOMENT_S, by_renter, hold, hold_server, on_server
from clore_ai.rental.orders.reconcile import orders, wallets
from clore_ai.rental.spend import afford, lease

if TYPE_CHECKING:
    from clore_ai._api.order_request import OrderRequest
    from clore_ai.models import Order
    from clore_ai.models.records import Enforced
    from clore_ai.rental.session import Session

_PAUSE_S = 2.0


@dataclass(frozen=True)
class RentalTerms:
    """The user's terms for a rental that are not sent to the service; see `Intent`."""

    client_ref: str | None = None
    purpose: str | None = None
    lease_s: float | None = None
    max_cost_usd: float | None = None
    usd_per_coin: float | None = None
    mrl_s: float | None = None
    enforced: Enforced = "always"
    unacknowledged: bool = False
    """The caller acknowledges the order itself once the user knows it (`recover.acknowledge`)."""
    renting: Renting | None = None
    """The caller continues with the order; None: it is handed over at once."""


@dataclass
class Renting:
    """One order while its command works on it; other commands leave it alone meanwhile.

    Its locks are freed with `locks`, and when the process ends.
    """

    locks: ExitStack
    waits: bool = True
    """Wait for another command that is renting the same server?"""
    intent: Intent | None = None
    """Set once the order was sent, or is about to be."""


def terms(
    client_ref: str | None, purpose: str | None, lease_h: float | None, max_cost_usd: float | None
) -> RentalTerms:
    """The terms of `client.create_order`.

    Raises:
        InvalidInputError: a limit is not a number above 0.
    """
    lease.above_0(lease_h=lease_h, max_cost_usd=max_cost_usd)
    return RentalTerms(client_ref, purpose, lease_h and lease_h * 3600, max_cost_usd)


def create(
    session: Session, wanted: OrderRequest, terms: RentalTerms = RentalTerms()
) -> Flow[Order]:
    """The order that was wanted, or the one that `terms.client_ref` made before.

    Raises:
        CloreAPIError: a refusal; nothing was rented.
        BudgetError: it would exceed a budget; nothing was rented. Or its price is above the
            agreed one; then it was cancelled.
        OrderUncertain: an order may exist; carries the intent.
        BusyError: another command is renting this server, and the caller does not wait for it.
        ConfigError: the ledger can't be written, or was damaged; nothing was rented.
    """
    yield from local(session.ledger.store.check_loss)
    with ExitStack() as locks:
        if terms.client_ref is not None:
            order = yield from earlier(session, terms.client_ref, locks)
            if order is not None:
                as_asked.compare(session, order, wanted)
                return (yield from _handed_over(session, order))
        waits = terms.renting is None or terms.renting.waits
        yield from hold_server(session, locks, wanted.server_id, waits=waits)
        order = yield from _rent(session, wanted, terms)
        as_asked.compare(session, order, wanted)
        yield from as_asked.refuse_above_agreed(session, order, wanted)
    session.made.add(order.id)
    yield from local(_keep_key, session, order, wanted.ssh_key)
    order.use_ssh(session.access.line)
    return (yield from _handed_over(session, order))


def _handed_over(session: Session, order: Order) -> Flow[Order]:
    """Hand the order over. If its caller was stopped meanwhile, the next command reports it."""
    try:
        yield from clock()
    except BaseException:
        yield from at_last(recover.report, session, order.id)
        raise
    return order


def _keep_key(session: Session, order: Order, public: str | None) -> None:
    """Record which key opens the order: its machine is offered no other one."""
    if public is None:
        return
    if session.ledger.folder is None:
        session.access.note(order, public)
        return
    try:
        session.access.remember(order, None, public)
    except OSError as exc:
        session.note_trouble(
            f"The SSH files of order {order.id} can't be written in {session.access.home}: "
            f"{exc.strerror}."
        )


def earlier(session: Session, client_ref: str, locks: ExitStack) -> Flow[Order | None]:
    """The order made under `client_ref`, which `locks` now hold; None if none was made.

    Raises:
        OrderUncertain: one may have been made; carries the intent.
        CloreAPIError, ConfigError: the service or the ledger can't be asked.
    """
    yield from hold(session, locks, f"ref {client_ref}")
    intent = yield from local(session.ledger.by_ref, client_ref)
    if intent is None:
        return None
    with ExitStack() as others:
        order = yield from _again(session, others, intent)
    if order is not None:
        yield from local(_write, session, intent, unacknowledged=False)
    return order


def _rent(session: Session, wanted: OrderRequest, terms: RentalTerms) -> Flow[Order]:
    server_id = wanted.server_id
    before = yield from _before(session, server_id)
    # The budgets of the account apply, so find out which account a new key opens.
    if (yield from local(session.ledger.keys.is_new)):
        yield from wallets(session)
    price = yield from afford.price(session, wanted, terms.usd_per_coin, terms.max_cost_usd)
    now = (yield from clock()).wall
    intent = Intent(
        server_id,
        wanted.type,
        wanted.currency,
        wanted.image,
        client_ref=terms.client_ref,
        purpose=terms.purpose,
        lease_s=terms.lease_s,
        max_cost_usd=terms.max_cost_usd,
        price=price.per_day,
        usd_per_coin=price.usd_per_coin,
        mrl_s=terms.mrl_s,
        enforced=terms.enforced,
        unacknowledged=terms.unacknowledged,
        opened_at=now,
        posted_at=now,
        newest_id=max((order.id for order in before), default=None),
        known_ids=frozenset(o.id for o in before if o.server_id in (None, server_id)),
    )
    if terms.renting is not None:
        with suppress(ConfigError):  # without it, other commands report the order
            yield from hold(session, terms.renting.locks, by_renter(server_id), MOMENT_S)
        terms.renting.intent = intent
    try:
        yield from local(_open, session, intent, now)
        return (yield from _send(session, intent, wanted, before))
    finally:
        if intent.id is not None and intent.state == "open":  # stopped on the way, e.g. by Ctrl-C
            why = "stopped before its order was known"
            yield from at_last(_write, session, intent, state="uncertain", reason=why)


def _open(session: Session, intent: Intent, now: float) -> None:
    """The budget is checked after the write: of two concurrent rentals, one sees the other."""
    session.ledger.open(intent)
    try:
        afford.check(session, intent, now)
    except CloreAPIError as exc:
        _write(session, intent, state="refused", reason=type(exc).__name__)
        raise


def _write(session: Session, intent: Intent, **changes: Any) -> None:  # noqa: ANN401 - fields of Intent
    """Record what became of a sent intent; a failure is only reported: the order matters more."""
    try:
        session.ledger.update(intent, **changes)
    except ConfigError as exc:
        session.note_trouble(str(exc))
        for name, value in changes.items():
            setattr(intent, name, value)


def _send(
    session: Session, intent: Intent, wanted: OrderRequest, before: list[Order]
) -> Flow[Order]:
    failure: CloreAPIError | None = None
    named: list[Order] = []
    try:
        named = yield from request(endpoints.create_order(wanted), session.rules)
    except CloreAPIError as exc:
        if not exc.maybe_acted:
            reason = exc.error or str(exc)
            yield from local(_write, session, intent, state="refused", reason=reason)
            raise
        failure = exc
    answered_at = (yield from clock()).wall
    yield from local(_write, session, intent, answered_at=answered_at)
    order = yield from claim.named(session, intent, named, {order.id for order in before})
    if order is None:
        order = yield from claim.appearing(session, intent, session.look_for_s)
    if order is not None:
        return order
    if intent.order_id is not None:
        known: dict[str, Any] = {"state": "created", "order_id": intent.order_id}
    else:
        known = {"state": "uncertain", "reason": _reason(failure)}
    yield from local(_write, session, intent, **known)
    raise OrderUncertain(_uncertain(intent, failure), intent) from failure


def _before(session: Session, server_id: int) -> Flow[list[Order]]:
    """All orders, ended ones too: one that was cancelled minutes ago is not ours either.

    An order of an earlier request for this server may still be about to appear. It is waited for;
    otherwise it would be taken for ours.
    """
    while True:
        rows = yield from orders(session, include_completed=True, holding=server_id)
        now = (yield from clock()).wall
        unsettled = yield from local(session.ledger.unsettled)
        if not any(
            i.server_id == server_id
            and now - (i.answered_at or i.posted_at or now) < session.look_for_s
            for i in unsettled
        ):
            return rows
        yield Sleep(_PAUSE_S)


def settle(session: Session, intent: Intent) -> Flow[Order | None]:
    """The order of an intent whose command was stopped on the way; None if none appears.

    If stopped again, it stops waiting, and looks once more.
    """
    with ExitStack() as locks:
        yield from hold(session, locks, on_server(intent.server_id))
        try:
            return (yield from claim.appearing(session, intent, session.look_for_s))
        except GeneratorExit:
            raise
        except BaseException:  # noqa: BLE001 - the first interruption is raised
            return (yield from claim.appearing(session, intent, 0.0))


def _again(session: Session, locks: ExitStack, earlier: Intent) -> Flow[Order | None]:
    """The order that an earlier call with the same `client_ref` made, in whatever state it is.

    None if that call certainly made no order: then a new one is rented.
    """
    yield from hold(session, locks, on_server(earlier.server_id))
    rows = yield from orders(session, include_completed=True, holding=earlier.server_id)
    intent = yield from local(session.ledger.by_ref, earlier.client_ref or "")
    if intent is None:  # that look settled it: refused
        return None
    order = claim.match(intent, rows, (yield from local(claim.claimed, session, intent)))
    if order is not None:
        return (yield from claim.claim(session, intent, order))
    if not reconcile.nothing_came(intent, (yield from clock()).wall):
        order = yield from claim.appearing(session, intent, session.look_for_s)
    if order is None:
        raise OrderUncertain(_uncertain(intent, None), intent)
    return order


def _reason(failure: CloreAPIError | None) -> str:
    return "no order showed up" if failure is None else failure.error or type(failure).__name__


def _uncertain(intent: Intent, failure: CloreAPIError | None) -> str:
    why = f" (no usable answer: {_reason(failure)})" if failure else ""
    if intent.order_id is not None:
        return (
            f"Order {intent.order_id} on server {intent.server_id} was created, but is not among "
            f"your orders{why}. Look at them (clore orders); if you do not want it: "
            f"clore cancel {intent.order_id}"
        )
    return (
        f"It is not known whether server {intent.server_id} was rented{why}: no order for it "
        "showed up. Check your orders before you try again: clore orders settles it. If it "
        "appears and you do not want it, cancel it."
    )
