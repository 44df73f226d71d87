"""Stop paying: cancel an order, also when the answer gets lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clore_ai import _wire
from clore_ai._flow import Flow, request
from clore_ai.rental import check

if TYPE_CHECKING:
    from clore_ai.rental.session import Session


def cancel(session: Session, order_id: int, issue: str | None = None) -> Flow[dict[str, Any]]:
    """The service's answer; asked again when it got lost, since an order that goes on costs money.

    Raises:
        CloreAPIError: refused, e.g. `FieldError` with `you_dont_own_this_order`.
        InvalidInputError: `issue` is too long; nothing was sent.
    """
    check.issue(issue)
    return (yield from request(_wire.cancel_order(order_id, issue), session.rules))
