"""Reports cancelled orders and their cost, for every command that ends orders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_ai.cli import output
from clore_ai.exceptions import CloreAPIError, FieldError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clore_ai.rental.orders.cancel import Cancelling

_MESSAGES = {
    "you_dont_own_this_order": "You have no order {0}. See: clore orders",
    "order_not_active": (
        "Order {0} has already ended. What it cost: clore orders --completed"
    ),
}  # fmt: skip


def interrupted(todo: Sequence[Cancelling]) -> str:
    """The message after Ctrl-C about the orders that may still run; empty if none may."""
    left = " ".join(str(each.order_id) for each in todo if not each.done)
    return left and (
        f"Interrupted. Not confirmed as ended, and maybe billed: {left}. Check with: clore "
        f"orders. Try again with: clore cancel {left}"
    )


def show(each: Cancelling) -> None:
    """Report an order's outcome; replaces its error, if any, by one in plain words."""
    each.error = _plain(each.order_id, each.error)
    if each.gone:
        output.note(each.in_words(), bold=True)
    elif each.error is not None and each.error.error not in _MESSAGES:
        output.note(
            f"Order {each.order_id} may still run, and be billed. Stop paying: "
            f"clore cancel {each.order_id}",
            bold=True,
        )


def _plain(order_id: int, error: CloreAPIError | None) -> CloreAPIError | None:
    """A refusal in words that name the order and the next step."""
    message = _MESSAGES.get(error.error or "") if error is not None else None
    if error is None or message is None:
        return error
    plain = FieldError(message.format(order_id), error.code, error.response, status=error.status)
    plain.__cause__ = error
    return plain
