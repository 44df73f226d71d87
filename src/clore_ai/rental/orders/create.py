"""One order, exactly once, from an answer that holds no id (service.md, 3).

``{"code":0}`` names no order, and a time-out or HTTP 500 may have created one. So, with a lock on
the server among all who share the ledger:

1. the known orders are noted, and the intents of earlier requests for this server settled; 2. the
intent goes into the ledger, on disk; 3. the order is sent, again only where the service surely did
not act; 4. after anything else than a clean refusal, a new order on our server is looked for,
for up to 30 s; 5. found: it is returned. Refused: the refusal is raised. Neither:
`OrderUncertain`, and the intent stays open until a later look settles it.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clore_ai._api import endpoints
from clore_ai._api.parse import model
from clore_ai._api.steps import Flow, Sleep, answer, clock, request
from clore_ai._values.kinds import as_dict
from clore_ai.exceptions import CloreAPIError, ConfigError, OrderUncertain, ResponseError
from clore_ai.models import Order, Orders
from clore_ai.models.records import Intent
from clore_ai.rental.orders import as_asked, reconcile
from clore_ai.rental.orders.reconcile import by_renter, facts, match, on_server, orders, wallets
from clore_ai.rental.spend import afford

if TYPE_CHECKING:
    from clore_ai.models.records import Enforced
    from clore_ai.rental.session import Session

LOCK_DEADLINE_S = 120.0
"""How long another command of the same user may be busy with the same server."""
_MOMENT_S = 1.0
"""Who only looks whether a server's lock is free has it for an instant."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 2.0


@dataclass(frozen=True)
class RentalTerms:
    """What the user says of a rental beyond what the service is told; see `Intent`."""

    client_ref: str | None = None
    purpose: str | None = None
    lease_s: float | None = None
    max_cost_usd: float | None = None
    usd_per_coin: float | None = None
    mrl_s: float | None = None
    enforced: Enforced = "always"
    unacknowledged: bool = False
    """The caller says itself when the user knows the order (`recover.told`)."""
    renting: Renting | None = None
    """The caller goes on with the order; without, it is handed over at once."""


@dataclass
class Renting:
    """One order as long as its command is busy with it; other commands leave it alone meanwhile.

    What is locked is freed with `locks`, and when the process ends.
    """

    locks: ExitStack
    waits: bool = True
    """For another command that is renting the same server."""
    intent: Intent | None = None
    """Once the order was sent, or is about to be."""


class BusyError(CloreAPIError):
    """Another command of the same user is renting this server."""


def create(
    session: Session, body: dict[str, Any], terms: RentalTerms = RentalTerms()
) -> Flow[Order]:
    """The order made from `body`, or the one that `terms.client_ref` made before.

    Raises:
        CloreAPIError: a refusal; nothing was rented.
        BudgetError: it would go over a budget; nothing was rented.
            Or its price is above what was agreed; then it was cancelled.
        OrderUncertain: an order may exist; it carries the intent.
        BusyError: it is not waited for another command that is renting this server.
        ConfigError: the ledger can't be written, or was damaged; nothing was rented.
    """
    session.ledger.store.check_loss()
    with ExitStack() as locks:
        if terms.client_ref is not None:
            order = yield from earlier(session, terms.client_ref, locks)
            if order is not None:
                as_asked.compare(session, order, body)
                return order
        yield from _hold_server(session, locks, body["renting_server"], terms.renting)
        order = yield from _rent(session, body, terms)
        as_asked.compare(session, order, body)
        yield from as_asked.not_dearer(session, order, body)
    session.made.add(order.id)
    _keep_key(session, order, body.get("ssh_key"))
    order.use_ssh(session.access.line)
    return order


def _hold_server(
    session: Session, locks: ExitStack, server_id: int, renting: Renting | None
) -> Flow[None]:
    """Take the server's lock; who has others to choose from does not wait for this one."""
    if renting is None or renting.waits:
        yield from _hold(session, locks, on_server(server_id))
        return
    try:
        yield from _hold(session, locks, on_server(server_id), _MOMENT_S)
    except ConfigError as exc:
        raise BusyError(f"Another command of yours is renting server {server_id}.") from exc


def _keep_key(session: Session, order: Order, public: str | None) -> None:
    """Note which key opens the order: no other one is offered to its machine."""
    if public is None:
        return
    if session.ledger.folder is None:
        session.access.note(order, public)
        return
    try:
        session.access.remember(order, None, public)
    except OSError as exc:
        session.note_trouble(f"Can't be noted in {session.access.home}: {exc.strerror}.")


def earlier(session: Session, client_ref: str, locks: ExitStack) -> Flow[Order | None]:
    """The order that was made under `client_ref`, which is held with `locks`; None if none was.

    Raises:
        OrderUncertain: one may have been made; it carries the intent.
        CloreAPIError, ConfigError: the service or the ledger can't be asked.
    """
    yield from _hold(session, locks, f"ref {client_ref}")
    intent = session.ledger.by_ref(client_ref)
    if intent is None:
        return None
    with ExitStack() as others:
        order = yield from _again(session, others, intent)
    if order is not None:
        _write(session, intent, unacknowledged=False)
    return order


def _hold(
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
        yield Sleep(_FIRST_PAUSE_S)


def _rent(session: Session, body: dict[str, Any], terms: RentalTerms) -> Flow[Order]:
    server_id = body["renting_server"]
    before = yield from _before(session, server_id)
    if session.ledger.keys.is_new():  # the budgets of its account count, whose ever that is
        yield from wallets(session)
    price = yield from afford.price(session, body, terms.usd_per_coin, terms.max_cost_usd)
    now = (yield from clock()).wall
    intent = Intent(
        server_id,
        body["type"],
        body["currency"],
        body["image"],
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
        with suppress(ConfigError):  # it only keeps other commands from telling of the order
            yield from _hold(session, terms.renting.locks, by_renter(server_id), _MOMENT_S)
        terms.renting.intent = intent
    session.ledger.open(intent)
    try:
        _afford(session, intent, now)
        return (yield from _send(session, intent, body, before))
    finally:
        if intent.state == "open":  # stopped in mid-course, by Ctrl-C say
            why = "stopped before its order was known"
            _write(session, intent, state="uncertain", reason=why)


def _afford(session: Session, intent: Intent, now: float) -> None:
    """Only once it is written: of two that rent at once, one sees the other."""
    try:
        afford.check(session, intent, now)
    except CloreAPIError as exc:
        _write(session, intent, state="refused", reason=type(exc).__name__)
        raise


def _write(session: Session, intent: Intent, **changes: Any) -> None:  # noqa: ANN401 - fields of Intent
    """Note what became of an intent that was sent: the order matters more than its record."""
    try:
        session.ledger.update(intent, **changes)
    except ConfigError as exc:
        session.note_trouble(str(exc))
        for name, value in changes.items():
            setattr(intent, name, value)


def _send(
    session: Session, intent: Intent, body: dict[str, Any], before: list[Order]
) -> Flow[Order]:
    failure: CloreAPIError | None = None
    sent: dict[str, Any] = {}
    try:
        sent = yield from answer(endpoints.create_order(body), session.rules)
    except CloreAPIError as exc:
        if not exc.maybe_acted:
            _write(session, intent, state="refused", reason=exc.error or str(exc))
            raise
        failure = exc
    _write(session, intent, answered_at=(yield from clock()).wall)
    order = yield from _told(session, intent, sent, {order.id for order in before})
    if order is None:
        order = yield from _look(session, intent, session.look_for_s)
    if order is not None:
        return order
    if intent.order_id is not None:
        _write(session, intent, state="created", order_id=intent.order_id)
    else:
        _write(session, intent, state="uncertain", reason=_reason(failure))
    raise OrderUncertain(_uncertain(intent, failure), intent) from failure


def _before(session: Session, server_id: int) -> Flow[list[Order]]:
    """All orders, ended ones too: one that was cancelled minutes ago is not ours either.

    An order of an earlier request for this server may still be about to show up; it is waited
    for, or it would be taken for ours.
    """
    while True:
        rows = yield from orders(session, include_completed=True, holding=server_id)
        now = (yield from clock()).wall
        if not any(
            i.server_id == server_id
            and now - (i.answered_at or i.posted_at or now) < session.look_for_s
            for i in session.ledger.unsettled()
        ):
            return rows
        yield Sleep(_LONGEST_PAUSE_S)


def _told(
    session: Session, intent: Intent, sent: dict[str, Any], known: set[int]
) -> Flow[Order | None]:
    """The order where the answer holds it, as 002 (`order_id`) and 004 (`order`) have it.

    An id alone is noted in the intent, to be looked for. One that was there before, or is another
    intent's, can't be its own; an order of another server can't, and two ids that differ say
    nothing.
    """
    found = [
        order
        for raw in (sent.get("order"), {"order_id": sent.get("order_id")})
        if (order := _order(raw)) is not None
    ]
    taken = known | _claimed(session, intent)
    if len({order.id for order in found}) != 1 or found[0].id in taken:
        return None
    order = found[0]
    if order.server_id == intent.server_id and order.active and reconcile.in_time(order, intent):
        return (yield from _claim(session, intent, order))
    if order.server_id is None:
        intent.order_id = order.id
    return None


def _order(raw: object) -> Order | None:
    """An order whose id is a whole number; true, 1.0 and "1" are none."""
    record = as_dict(raw) or {}
    ids = [each for name in ("id", "order_id") if (each := record.get(name)) is not None]
    if not ids or any(type(each) is not int or each != ids[0] for each in ids):
        return None
    with suppress(ResponseError):
        return model(Order, record)
    return None


def _look(session: Session, intent: Intent, for_s: float) -> Flow[Order | None]:
    """A new order on the intent's server, waiting for it to show up; None if it does not."""
    start = (yield from clock()).mono
    pause = _FIRST_PAUSE_S
    while True:
        now = (yield from clock()).mono
        last = now - start + pause >= for_s
        try:
            # The last look takes in what ended meanwhile: it was rented, and billed, too.
            rows = yield from request(endpoints.my_orders(include_completed=last), session.rules)
        except CloreAPIError:
            rows = (
                Orders()
            )  # the order, not this request, is what matters: look on until the deadline
        ours = (None, intent.server_id)
        if any(o.id == intent.order_id and o.server_id not in ours for o in rows):
            intent.order_id = None  # the answer named an order of another server
        order = match(intent, rows, _claimed(session, intent))
        if order is not None:
            claimed = yield from _claim(session, intent, order)
            if claimed is not None:
                return claimed
        if last:
            return None
        yield Sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE_S)


def settle(session: Session, intent: Intent) -> Flow[Order | None]:
    """The order that came of an intent which was stopped in mid-course; None if none shows up.

    Stopped again, it waits no longer, and looks once more.
    """
    with ExitStack() as locks:
        yield from _hold(session, locks, on_server(intent.server_id))
        try:
            return (yield from _look(session, intent, session.look_for_s))
        except GeneratorExit:
            raise
        except BaseException:  # noqa: BLE001 - whoever was stopped first raises that
            return (yield from _look(session, intent, 0.0))


def _claimed(session: Session, intent: Intent) -> set[int]:
    try:
        return session.ledger.claimed() - {intent.order_id or 0}
    except ConfigError as exc:
        session.note_trouble(str(exc))
        return set()


def _claim(session: Session, intent: Intent, order: Order) -> Flow[Order | None]:
    """The order, once it is known to be ours; None where another intent has it."""
    now = (yield from clock()).wall
    try:
        mine = session.ledger.claim(intent, order.id, facts(intent, order, now))
    except ConfigError as exc:
        session.note_trouble(str(exc))
        intent.order_id, intent.state, mine = order.id, "created", True
    return order if mine else None


def _again(session: Session, locks: ExitStack, earlier: Intent) -> Flow[Order | None]:
    """The order that an earlier call with the same `client_ref` made, in whatever state it is.

    None where surely nothing came of that call: then it is rented now.
    """
    yield from _hold(session, locks, on_server(earlier.server_id))
    rows = yield from orders(session, include_completed=True, holding=earlier.server_id)
    intent = session.ledger.by_ref(earlier.client_ref or "")
    if intent is None:  # that look has settled it: refused
        return None
    order = match(intent, rows, _claimed(session, intent))
    if order is not None:
        return (yield from _claim(session, intent, order))
    sent_at = intent.answered_at or intent.posted_at or 0.0
    if (yield from clock()).wall - sent_at < reconcile.NOTHING_CAME_AFTER_S:
        order = yield from _look(session, intent, session.look_for_s)
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
        "showed up. Look at your orders before you try again: clore orders settles it. If it "
        "appears and you do not want it, cancel it."
    )
