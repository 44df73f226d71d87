"""Reads the user's orders, and updates the ledger from them.

Every look at `my_orders` updates the ledger: what was spent, what ended, and, for intents whose
order may exist unseen, which order is theirs (`claim`). An intent that another process is still
working on is left to that process.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from clore_ai._api import endpoints
from clore_ai._api.steps import Flow, clock, local, request
from clore_ai._api.waits import WAITS
from clore_ai._state.store import LOST
from clore_ai.exceptions import CloreAPIError, ConfigError, OrderEnded
from clore_ai.models import Order, Orders
from clore_ai.models.records import Intent
from clore_ai.rental import accounts
from clore_ai.rental.orders import ending
from clore_ai.rental.orders.claim import facts, match
from clore_ai.rental.orders.locks import on_server

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from clore_ai.models import SpotMarket, Wallet
    from clore_ai.rental.session import Session


def orders(
    session: Session, *, include_completed: bool = False, holding: int | None = None
) -> Flow[Orders]:
    """The user's orders; the ended ones too with `include_completed`.

    `holding`: the server whose lock the caller has.

    Raises:
        CloreAPIError: as the service's answer says. A problem of the ledger's file is kept in
            `session.trouble` instead: the orders can be seen and cancelled all the same.
    """
    rows = yield from _orders(session, whole=include_completed, holding=holding)
    if include_completed or not (yield from local(_misses_some, session, rows)):
        return rows
    # Only the whole list shows whether those have ended.
    whole = yield from _orders(session, whole=True, holding=holding)
    active = Orders(order for order in whole if order.active)
    active.unread = whole.unread
    return active


def _misses_some(session: Session, rows: Orders) -> bool:
    """Is an order missing from the active ones that runs by the ledger?"""
    listed = {order.id for order in rows}
    try:
        return any(intent.order_id not in listed for intent in session.ledger.running())
    except ConfigError as exc:
        session.note_trouble(str(exc))
        return False


def _orders(session: Session, *, whole: bool, holding: int | None) -> Flow[Orders]:
    rows = yield from request(endpoints.my_orders(include_completed=whole), session.rules)
    for row in rows:
        row.use_ssh(session.access.line)
    now = (yield from clock()).wall
    session.unread = rows.unread
    if rows.unread:
        session.note_trouble(unread(rows))
    try:
        seen = yield from _seen(session, rows)
        yield from local(observe, session, rows, now, complete=whole, holding=holding, seen=seen)
    except ConfigError as exc:
        session.note_trouble(str(exc))
    return rows


def unread(rows: Orders) -> str:
    """A sentence on the rows that could not be read."""
    return (
        f"{rows.unread} of {len(rows) + rows.unread} orders that the service lists could not be "
        "read. They may run and be billed: check them on the web site."
    )


def wallets(session: Session) -> Flow[list[Wallet]]:
    """The account's wallets; their balances are recorded in the ledger.

    Raises:
        CloreAPIError: as in `orders`; problems of the ledger are kept in the same way.
    """
    found = yield from request(endpoints.wallets(), session.rules)
    yield from local(_note_wallets, session, found, (yield from clock()).wall)
    return found


def _note_wallets(session: Session, found: Iterable[Wallet], now: float) -> None:
    known = {wallet.name: wallet.balance for wallet in found if wallet.balance is not None}
    try:
        addresses = accounts.by_wallets(session, found)
        session.ledger.note_wallets(known, now, addresses)
    except ConfigError as exc:
        session.note_trouble(str(exc))


def observe(
    session: Session,
    rows: Orders,
    now: float,
    *,
    complete: bool,
    holding: int | None = None,
    seen: Mapping[int, ending.Evidence] = MappingProxyType({}),
) -> None:
    """Update the ledger from `rows`; `complete`: they include the ended ones.

    `seen`: the evidence for orders whose end is news. Intents that this settles are added to
    `session.found`.

    Raises:
        ConfigError: the ledger can't be read or written.
    """
    accounts.by_orders(session, rows)
    ledger = session.ledger
    by_id = {order.id: order for order in rows}
    changes: list[tuple[Intent, dict[str, Any]]] = []
    running = ledger.running()
    if complete:
        session.listings.feed(rows, running, now, whole=not rows.unread)
    for intent in running:
        order = by_id.get(intent.order_id or 0)
        if order is not None:
            changes.append((intent, facts(intent, order, now, seen.get(order.id))))
        elif complete:
            changes.append((intent, _missing(session, intent, now)))
    for intent, news in changes:
        if "ended_at" in news and intent.reason is None and intent.order_id is not None:
            gone = by_id.get(intent.order_id) or Order.model_validate(
                {"id": intent.order_id, "si": intent.server_id}
            )
            session.ended[gone.id] = ending.sentence(gone, news["reason"])
    ledger.update_all(changes)
    for intent in ledger.unsettled():
        _settle(session, intent, rows, now, complete=complete, held=holding == intent.server_id)
    if complete and ledger.damaged() is not None:
        _rebuild(session, rows, now)


def _missing(session: Session, intent: Intent, now: float) -> dict[str, Any]:
    """The changes for an intent whose order is not listed."""
    order_id = intent.order_id or 0
    since = session.listings.missing.get(order_id)
    if session.listings.of(order_id) == "gone":
        return {"ended_at": since or now, "reason": intent.reason or ending.UNLISTED}
    return {} if since == intent.missing_at else {"missing_at": since}


def _seen(session: Session, rows: Iterable[Order]) -> Flow[dict[int, ending.Evidence]]:
    """The evidence for orders whose end is news and was not caused by this machine."""
    kept = yield from local(session.ledger.running)
    running = {intent.order_id for intent in kept if intent.reason is None}
    found: dict[int, ending.Evidence] = {}
    held: dict[str, float | None] = {}
    for order in rows:
        if order.id in running and not order.active:
            found[order.id] = yield from _evidence(session, order, held)
    return found


def _evidence(
    session: Session, order: Order, held: dict[str, float | None]
) -> Flow[ending.Evidence]:
    """The evidence for an order's end. `held`: the wallets' balances, read once if it is empty."""
    if ending.why(order) != ending.ELSEWHERE:
        return ending.Evidence()
    balance, outbid = None, False
    try:
        if not held:
            held |= {wallet.name: wallet.balance for wallet in (yield from wallets(session))}
        balance = held.get(order.currency or "")
        if order.type == "spot" and order.server_id is not None:
            call = endpoints.spot_marketplace(order.server_id)
            market: SpotMarket = yield from request(call, session.rules)
            outbid = any(
                each.active and not each.my and each.currency == order.currency
                and (each.price or 0.0) > (order.price or 0.0)
                for each in market.offers or ()
            )  # fmt: skip
    except CloreAPIError:
        pass  # then the balance is not known
    return ending.Evidence(balance, outbid)


def because(session: Session, order: Order) -> Flow[str]:
    """Why an order ended, in the words of `ending`."""
    session.ended.pop(order.id, None)  # the caller reports it
    try:
        intent = yield from local(session.ledger.by_order, order.id)
        if intent is not None and intent.reason is not None:
            return intent.reason
    except ConfigError as exc:
        session.note_trouble(str(exc))
    return ending.why(order, (yield from _evidence(session, order, {})))


def reasons(session: Session, rows: Iterable[Order]) -> dict[int, str]:
    """Why the ended orders among `rows` ended, as far as it is known without asking."""
    kept: dict[int | None, str | None] = {}
    try:
        kept = {i.order_id: i.reason for i in session.ledger.intents() if i.order_id is not None}
    except ConfigError as exc:
        session.note_trouble(str(exc))
    return {o.id: kept.get(o.id) or ending.why(o) for o in rows if not o.active}


def end_of(session: Session, order: Order) -> Flow[OrderEnded]:
    """The error that says that an order has ended, and why."""
    reason = yield from because(session, order)
    return OrderEnded(ending.sentence(order, reason), order, reason)


def _settle(
    session: Session, intent: Intent, rows: list[Order], now: float, *, complete: bool, held: bool
) -> None:
    ledger = session.ledger
    lock = ledger.lock(on_server(intent.server_id))
    try:
        if not held and not lock.try_acquire():
            return  # the command that rents it is looking, too
        fresh = ledger.reread(intent)
        if fresh.state not in ("open", "uncertain"):
            return
        order = match(fresh, rows, ledger.claimed())
        if order is not None and ledger.claim(
            fresh, order.id, {**facts(fresh, order, now), "unacknowledged": True}
        ):
            session.found.append(fresh)
        elif complete and nothing_came(fresh, now):
            ledger.update(fresh, state="refused", reason="no order came of it")
        elif fresh.state == "open":
            ledger.update(fresh, state="uncertain", reason="stopped before its order was known")
    finally:
        lock.release()


def nothing_came(intent: Intent, now: float) -> bool:
    """Would the order of this request be listed by now, if there were one?"""
    return now - (intent.answered_at or intent.posted_at or 0.0) > WAITS.nothing_came_after_s


def _rebuild(session: Session, rows: list[Order], now: float) -> None:
    """After the ledger was lost: add a row for each order of the service, without a lease."""
    ledger = session.ledger
    aside = ledger.damaged()
    claimed = ledger.claimed()
    lost = [order for order in rows if order.id not in claimed]
    for order in lost:
        adopt(session, order, now)
    ledger.mended()
    session.note_trouble(
        f"The ledger was damaged: it is kept as {aside}, and was rebuilt from your orders "
        f"({len(lost)}). {LOST}"
    )


def adopt(session: Session, order: Order, now: float, *, lease_s: float | None = None) -> Intent:
    """Add an order that was rented elsewhere to the ledger; `lease_s` from its start."""
    intent = Intent(
        order.server_id or 0,
        order.type or "on-demand",
        order.currency or "",
        order.image or "",
        lease_s=lease_s,
        enforced="reap" if lease_s is None else "always",
        opened_at=order.ct or now,
        posted_at=order.ct or now,
        answered_at=order.ct or now,
        state="uncertain",
    )
    session.ledger.open(intent)
    session.ledger.claim(intent, order.id, facts(intent, order, now))
    return intent
