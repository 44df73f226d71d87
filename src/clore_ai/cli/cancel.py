"""`clore cancel` (004, CLI Reference)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from clore_ai.cli import _output, _state, _units
from clore_ai.cli._account import connect

if TYPE_CHECKING:
    from clore_ai.client import CloreAI


@click.command()
@click.argument("order_id", type=int)
@click.option("--issue", help="What was wrong with the server, for its host (2,048 characters).")
@_output.json_option
def command(order_id: int, issue: str | None, as_json: bool) -> None:  # noqa: FBT001 - an option
    """Cancel an order and say what it cost.

    Billing of ORDER_ID stops within about a minute.
    """
    with connect(ask=False) as api:  # they know which order they mean
        answer = _cancel(api, order_id, issue)
        _state.forget(api.base_url, order_id)
        _output.note(f"Cancelled: order {order_id}.", bold=True)
        spent = _spent(api, order_id)
    if as_json:
        _output.data(answer | spent)
    elif spent:
        _output.note(
            f"It ran {_units.duration(spent['seconds'])} and cost {_units.coin(spent['total'])} "
            f"{spent['currency']}: {_units.coin(spent['spend'])} for the time, the rest fees."
        )


def _cancel(api: CloreAI, order_id: int, issue: str | None) -> dict[str, Any]:
    from clore_ai.exceptions import FieldError  # noqa: PLC0415 - not for --help

    try:
        return api.cancel_order(order_id, issue)
    except FieldError as exc:
        said = {
            "you_dont_own_this_order": f"You have no order {order_id}. See: clore orders",
            "order_not_active": f"Order {order_id} has already ended. "
            "What it cost: clore orders --completed",
        }.get(exc.error or "")
        if said is None:
            raise
        if exc.error == "order_not_active":
            _state.forget(api.base_url, order_id)
        raise FieldError(said, exc.code, exc.response, status=exc.status) from exc


def _spent(api: CloreAI, order_id: int) -> dict[str, Any]:
    """What the order cost, as far as the service tells; a failure here undoes no cancel."""
    from clore_ai.exceptions import CloreAPIError  # noqa: PLC0415 - not for --help
    from clore_ai.rental import wait  # noqa: PLC0415 - likewise
    from clore_ai.rental.cost import spent  # noqa: PLC0415 - likewise

    try:
        order = api.drive(wait.find(api.session, order_id, include_completed=True))
    except CloreAPIError as exc:
        _output.note(f"What it cost is not known: {exc}")
        return {}
    total = spent(order)
    if total is None:
        return {}
    return {
        "order_id": order_id,
        "spend": order.spend,
        "total": total,
        "currency": order.currency,
        "seconds": None
        if order.order_end is None or order.ct is None
        else order.order_end - order.ct,
    }
