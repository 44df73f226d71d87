"""Stop paying: cancel an order, even if the answer is lost, and check that it is gone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from clore_ai._api import endpoints
from clore_ai._api.order_request import check_length
from clore_ai._api.steps import Flow, Sleep, clock, local, request
from clore_ai._values.lengths import duration
from clore_ai.exceptions import (
    AuthError,
    CloreAPIError,
    ConfigError,
    InvalidInputError,
    WaitTimeout,
)
from clore_ai.models import Order, price
from clore_ai.rental.market.cost import spent
from clore_ai.rental.orders import ending
from clore_ai.rental.orders.reconcile import orders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clore_ai.models.records import Intent
    from clore_ai.rental.session import Session

MAX_ISSUE = 2048
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.3, 3.0
_FINAL = (
    "order_not_active",
    "order_dont_exist",
    "you_dont_own_this_order",
    "issue_description_too_long",
)


def check_issue(issue: str | None) -> None:
    """Refuse a reason that is too long (`issue_description_too_long`).

    Raises:
        InvalidInputError: over 2,048 characters.
    """
    check_length("issue", issue, MAX_ISSUE)


def cancel(
    session: Session, order_id: int, issue: str | None = None, why: str = ending.CANCELLED
) -> Flow[dict[str, Any]]:
    """The service's answer. A lost request is retried: an order that keeps running costs money.

    `why` is kept in the ledger, unless it has a reason already.

    Raises:
        CloreAPIError: refused, e.g. `FieldError` with `you_dont_own_this_order`.
        InvalidInputError: `issue` is too long; nothing was sent.
    """
    check_issue(issue)
    # Before the request: a process that watches the order may see its end before the answer comes.
    noted = yield from local(_note, session, order_id, reason=why)
    try:
        return (yield from request(endpoints.cancel_order(order_id, issue), session.rules))
    except CloreAPIError as exc:
        if noted is not None and not exc.maybe_acted:
            yield from local(_update, session, noted, reason=None)
        raise


def _note(session: Session, order_id: int, **changes: Any) -> Intent | None:  # noqa: ANN401 - of Intent
    """Record the end of an order in the ledger; returns its intent if that is news."""
    try:
        intent = session.ledger.by_order(order_id)
    except ConfigError as exc:
        session.note_trouble(str(exc))
        return None
    if intent is None or not intent.runs:
        return None
    news = {k: v for k, v in changes.items() if getattr(intent, k) is None}
    _update(session, intent, **news)
    return intent if news else None


def _update(session: Session, intent: Intent, **changes: Any) -> None:  # noqa: ANN401 - of Intent
    try:
        session.ledger.update(intent, **changes)
    except ConfigError as exc:
        session.note_trouble(str(exc))


@dataclass(frozen=True)
class Bill:
    """The cost of an order, in `currency`; `total` includes the fees."""

    spend: float | None
    total: float
    currency: str | None
    seconds: float | None
    """How long it ran; None if that is not known."""


@dataclass
class Cancelling:
    """One order being cancelled; may be read at any time, also after the flow was stopped."""

    order_id: int
    agreed: bool = False
    """The service accepted the cancel."""
    gone: bool = False
    """The order has ended, or is no longer listed."""
    order: Order | None = None
    """As last listed."""
    why: str = ending.CANCELLED
    """Why it is cancelled, for the ledger."""
    error: CloreAPIError | None = None
    """Why it may not be gone. A lost request is retried; a good answer clears this."""

    @property
    def done(self) -> bool:
        """Gone, or refused for a reason that a retry can't change.

        A page from a proxy (a CDN's 403), too many requests or a refusal without a reason are
        retried until the deadline: an order that keeps running costs money.
        """
        if self.gone or self.error is None:
            return self.gone
        return isinstance(self.error, (AuthError, InvalidInputError)) or (
            self.error.error in _FINAL and not self.error.maybe_acted
        )

    @property
    def ended(self) -> bool:
        """Has the order ended, by this cancel or before?"""
        return self.gone or (self.error is not None and self.error.error == "order_not_active")

    def row(self) -> dict[str, Any]:
        """The outcome for ``--json``; `total` is in `currency`, fees included."""
        found: dict[str, Any] = {"order_id": self.order_id, "cancelled": self.gone}
        if self.error is not None:
            found["error"] = self.error.error or str(self.error)
        return found if self.bill is None else {**found, **asdict(self.bill)}

    def in_words(self) -> str:
        """That the order is gone, and what it cost: ``Cancelled: order 7. It ran 2h and …``."""
        bill = self.bill
        if bill is None:
            return f"Cancelled: order {self.order_id}. What it cost is not known."
        return (
            f"Cancelled: order {self.order_id}. It ran {duration(bill.seconds)} and cost "
            f"{price.coin(bill.total)} {bill.currency}: {price.coin(bill.spend)} for the time, the "
            "rest fees."
        )

    @property
    def bill(self) -> Bill | None:
        """What the order cost; None if that is not known."""
        order = self.order
        total = None if order is None else spent(order)
        if order is None or total is None:
            return None
        ended, begun = order.order_end, order.ct
        seconds = None if ended is None or begun is None else ended - begun
        return Bill(order.spend, total, order.currency, seconds)


def until_gone(
    session: Session,
    todo: Sequence[Cancelling],
    issue: str | None = None,
    timeout_s: float | None = None,
) -> Flow[None]:
    """Cancel all of `todo`, and look until each is gone; the result is in each entry.

    A refusal does not stop the others. At the deadline (`session.gone_for_s` without `timeout_s`)
    `error` is a `WaitTimeout` with the order, which may still be billed.

    Raises:
        InvalidInputError: `issue` is too long; nothing was sent.
    """
    check_issue(issue)
    timeout_s = session.gone_for_s if timeout_s is None else timeout_s
    start = (yield from clock()).mono
    pause = _FIRST_PAUSE_S
    while True:
        for each in todo:
            if not (each.done or each.agreed):
                yield from _ask(session, each, issue)
        if not all(each.done for each in todo):
            yield from _check_gone(session, [each for each in todo if not each.done])
        left = [each for each in todo if not each.done]
        if not left:
            return
        if (yield from clock()).mono - start + pause > timeout_s:
            for each in left:
                each.error = _late(each, timeout_s)
            return
        yield Sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE_S)


def end(
    session: Session,
    todo: Sequence[Cancelling],
    issue: str | None = None,
    timeout_s: float | None = None,
) -> Flow[None]:
    """`until_gone`; then the keys and host keys of those that have ended are removed."""
    yield from until_gone(session, todo, issue, timeout_s)
    for each in todo:
        if each.ended:
            yield from local(session.access.forget, each.order_id)


def _ask(session: Session, each: Cancelling, issue: str | None) -> Flow[None]:
    lost = each.error is not None
    try:
        yield from cancel(session, each.order_id, issue, each.why)
    except CloreAPIError as exc:
        if not (lost and exc.error == "order_not_active"):  # else the lost request ended it
            each.error = exc
            return
    each.agreed, each.error = True, None


def _check_gone(session: Session, waiting: list[Cancelling]) -> Flow[None]:
    try:
        rows = yield from orders(session, include_completed=True)
    except CloreAPIError:
        return  # the next look follows, until the deadline
    now = (yield from clock()).wall
    by_id = {order.id: order for order in rows}
    for each in waiting:
        each.order = by_id.get(each.order_id, each.order)
        listed = each.order_id in by_id
        each.gone = not by_id[each.order_id].active if listed else each.agreed
        if each.gone:
            each.error = None
            # For a list that omits ended orders.
            yield from local(_note, session, each.order_id, ended_at=now)


def _late(each: Cancelling, timeout_s: float) -> WaitTimeout:
    why = "" if each.error is None else f" (last: {each.error})"
    late = WaitTimeout(
        f"Order {each.order_id} did not end within {timeout_s:.0f} s{why}. It may still be "
        f"billed: check with clore orders, and try again with: clore cancel {each.order_id}",
        each.order or Order.model_validate({"id": each.order_id}),
    )
    late.__cause__ = each.error
    return late
