"""One order, exactly once, from an answer that holds no id (design, section 3; api.md, 3).

``{"code":0}`` names no order, and a time-out or HTTP 500 may have created one. So:

1. the intent goes into the ledger; 2. the known orders are noted; 3. the order is sent, again
only where the service surely did not act; 4. after anything else than a clean refusal, a new
order on our server is looked for, for up to 30 s; 5. found: it is returned. Refused: the refusal
is raised. Neither: `OrderUncertain`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from clore_ai import _wire
from clore_ai._flow import Flow, Sleep, answer, clock, request
from clore_ai._json import as_dict
from clore_ai._parse import model
from clore_ai.exceptions import CloreAPIError, OrderUncertain, ResponseError
from clore_ai.ledger import Intent
from clore_ai.models import Order

if TYPE_CHECKING:
    from clore_ai.rental.session import Session

CLOCK_SKEW_S = 300.0
"""How far the service's clock (`ct`) may be behind ours where ids do not decide."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 2.0


def create(session: Session, body: dict[str, Any], client_ref: str | None = None) -> Flow[Order]:
    """The order made from `body`, or the one that `client_ref` made before.

    Raises:
        CloreAPIError: a refusal; nothing was rented.
        OrderUncertain: an order may exist; it carries the intent.
    """
    intent = Intent(
        body["renting_server"], body["type"], body["currency"], body["image"], client_ref
    )
    while (earlier := session.ledger.open(intent)) is not None:
        if earlier.state != "open":
            return (yield from _again(session, earlier))
        yield Sleep(_FIRST_PAUSE_S)  # another thread or task is renting it just now
    try:
        return (yield from _create(session, intent, body))
    finally:
        if intent.state == "open":  # stopped in mid-course, by Ctrl-C say
            intent.state = "refused" if intent.posted_at is None else "uncertain"


def _create(session: Session, intent: Intent, body: dict[str, Any]) -> Flow[Order]:
    # With those that ended: one that was rented and cancelled minutes ago is not ours either.
    before = yield from request(_wire.my_orders(include_completed=True), session.rules)
    intent.known_ids = frozenset(order.id for order in before)
    intent.posted_at = (yield from clock()).wall
    failure: CloreAPIError | None = None
    sent: dict[str, Any] = {}
    try:
        sent = yield from answer(_wire.create_order(body), session.rules)
    except CloreAPIError as exc:
        if not exc.maybe_acted:
            intent.state = "refused"
            raise
        failure = exc
    order = _told(intent, sent)
    if order is None:
        order = yield from _look(session, intent, session.look_for_s)
    if order is not None:
        return order
    intent.state = "uncertain"
    raise OrderUncertain(_uncertain(intent, failure), intent) from failure


def _told(intent: Intent, sent: dict[str, Any]) -> Order | None:
    """The order where the answer holds it, as 002 (`order_id`) and 004 (`order`) have it."""
    full = as_dict(sent.get("order"))
    order_id = sent.get("order_id")
    if full is not None:
        with suppress(ResponseError):
            return _settle(intent, model(Order, full))
    if isinstance(order_id, int):
        intent.order_id = order_id
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
            rows = yield from request(_wire.my_orders(include_completed=last), session.rules)
        except CloreAPIError:
            rows = []  # the order, not this request, is what matters: look on until the deadline
        order = _match(session, intent, rows)
        if order is not None:
            return _settle(intent, order)
        if last:
            return None
        yield Sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE_S)


def _match(session: Session, intent: Intent, orders: list[Order]) -> Order | None:
    claimed = {i.order_id for i in session.ledger.intents() if i is not intent}
    for order in sorted(orders, key=lambda o: o.id):
        if intent.order_id is not None:
            if order.id == intent.order_id:
                return order
        elif (
            order.server_id == intent.server_id
            and order.id not in intent.known_ids
            and order.id not in claimed
            and _is_new(order, intent)
        ):
            return order
    return None


def _is_new(order: Order, intent: Intent) -> bool:
    """Was it made after the request was sent? Ids ascend; clocks can differ."""
    if order.ct is None or order.id > max(intent.known_ids, default=order.id):
        return True
    return order.ct >= (intent.posted_at or 0) - CLOCK_SKEW_S


def _settle(intent: Intent, order: Order) -> Order:
    intent.order_id, intent.state = order.id, "created"
    return order


def _again(session: Session, intent: Intent) -> Flow[Order]:
    """The order that an earlier call with the same `client_ref` made, in whatever state it is."""
    rows = yield from request(_wire.my_orders(include_completed=True), session.rules)
    order = _match(session, intent, rows)
    if order is not None:
        return _settle(intent, order)
    order = yield from _look(session, intent, session.look_for_s)
    if order is None:
        raise OrderUncertain(_uncertain(intent, None), intent)
    return order


def _uncertain(intent: Intent, failure: CloreAPIError | None) -> str:
    why = f" (no usable answer: {failure.error or type(failure).__name__})" if failure else ""
    if intent.order_id is not None:
        return (
            f"Order {intent.order_id} on server {intent.server_id} was created, but is not among "
            f"your orders{why}. Look at them (clore orders); if you do not want it: "
            f"clore cancel {intent.order_id}"
        )
    return (
        f"It is not known whether server {intent.server_id} was rented{why}: no order for it "
        "showed up. Look at your orders before you try again (clore orders), and cancel it if "
        "it appears."
    )
