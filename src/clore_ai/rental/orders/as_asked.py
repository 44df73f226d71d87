"""Does an order match its request? Compares what the service's row contains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_ai._values.text import plain
from clore_ai.exceptions import BudgetError
from clore_ai.rental.orders import cancel

if TYPE_CHECKING:
    from clore_ai._api.order_request import OrderRequest
    from clore_ai._api.steps import Flow
    from clore_ai.models import Order
    from clore_ai.rental.session import Session

_ROUNDING = 1.001


def compare(session: Session, order: Order, wanted: OrderRequest) -> None:
    """Report in a sentence how the order differs from the request; the order is kept."""
    pairs = {
        "server": (order.server_id, wanted.server_id),
        "type": (order.type, wanted.type),
        "currency": (order.currency, wanted.currency),
        "image": (order.image, wanted.image),
    }
    other = [
        f"its {name} is {plain(str(has))}, not {asked}"
        for name, (has, asked) in pairs.items()
        if has is not None and _bare(has) != _bare(asked)
    ]
    if other:
        session.note_trouble(f"Order {order.id} differs from its request: {'; '.join(other)}.")


def _bare(value: object) -> object:
    """An image without the default tag."""
    return value.strip().removesuffix(":latest") if isinstance(value, str) else value


def refuse_above_agreed(session: Session, order: Order, wanted: OrderRequest) -> Flow[None]:
    """Cancel an order that costs more than was agreed.

    Raises:
        BudgetError: it did cost more, and was cancelled.
        CloreAPIError: it did cost more, and may still be billed.
    """
    agreed = wanted.price_per_day
    if agreed is None or order.price is None or order.price <= agreed * _ROUNDING:
        return
    each = cancel.Cancelling(order.id)
    yield from cancel.until_gone(session, [each])
    if each.error is not None:
        raise each.error
    raise BudgetError(
        f"Order {order.id} on server {order.server_id} costs {order.price:g} "
        f"{wanted.currency}/day, above the {agreed:g} that was agreed, so it was cancelled."
    )
