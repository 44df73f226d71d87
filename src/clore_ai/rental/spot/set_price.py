"""Changes a spot bid; a request that the service would refuse is not sent (service.md, 1 and 5).

A refusal says in words what is allowed, and when.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from clore_ai._api import endpoints
from clore_ai._api.steps import Flow, clock, local, request
from clore_ai._values.lengths import duration
from clore_ai.exceptions import CloreAPIError, ConfigError, FieldError, InvalidInputError
from clore_ai.rental.spend.lease import moment
from clore_ai.rental.spot import auction

if TYPE_CHECKING:
    from clore_ai.models import Order
    from clore_ai.models.price import Rates
    from clore_ai.rental.session import Session

TOO_SOON = "can_lower_every_600_seconds"
LOWERING_S = 600.0
"""The service lowers a bid once in this time."""


def set_price(
    session: Session, order_id: int, price: float, order: Order | None = None
) -> Flow[dict[str, Any]]:
    """The service's answer. A bid that was lowered within 600 s is not lowered again.

    `order`: if it is known, a refusal names amounts in USD, and the next command.

    Raises:
        FieldError: the service refuses the bid, or is known to, so that it was not sent.
    """
    bids = session.bids
    now = yield from clock()
    wait_s = math.ceil((yield from local(bids.wait_s, order_id, price, now.mono)))
    if wait_s:
        raise FieldError(
            f"{_too_soon(order_id, wait_s, now.wall)} Nothing was sent.",
            6,
            {"code": 6, "error": TOO_SOON, "time_to_lowering": wait_s},
        )
    try:
        answer = yield from request(endpoints.set_spot_price(order_id, price), session.rules)
    except CloreAPIError as exc:
        left_s = exc.lowering_in_s if isinstance(exc, FieldError) else None
        now = yield from clock()
        with suppress(ConfigError):  # the bid is set, recorded or not
            if exc.error == TOO_SOON and left_s is not None:
                yield from local(bids.refused, order_id, price, left_s, now.mono)
            elif exc.maybe_acted:
                yield from local(bids.unknown, order_id)
        words = _in_words(exc, order_id, order, session.rates, now.wall)
        if words is None:
            raise
        raise FieldError(
            words, exc.code, exc.response, status=exc.status, maybe_acted=exc.maybe_acted
        ) from exc
    now = yield from clock()
    with suppress(ConfigError):
        yield from local(bids.accepted, order_id, price, now.mono)
    return answer


def biddable(order: Order) -> None:
    """Check that an order has a bid.

    Raises:
        InvalidInputError: it is on-demand.
    """
    if order.type == "on-demand":
        raise InvalidInputError(
            f"Order {order.id} is on-demand: its price is fixed; only spot orders have a bid.", 2
        )


def later(seconds: float, now: float) -> str:
    """A wait as ``in 9m 40s, at 2026-07-11 14:00 UTC``; `now`: unix seconds."""
    return f"in {duration(seconds)}, at {moment(now + seconds)}"


def _too_soon(order_id: int, left_s: float, now: float) -> str:
    return (
        f"The bid of order {order_id} can be lowered again {later(left_s, now)}; raising is free."
    )


def _in_words(
    exc: CloreAPIError, order_id: int, order: Order | None, rates: Rates, now: float
) -> str | None:
    """What the service's refusal means, and the next step; None for any other error."""
    if not isinstance(exc, FieldError):
        return None
    step, left_s = exc.max_step, exc.lowering_in_s
    if exc.error == TOO_SOON and left_s is not None:
        return _too_soon(order_id, left_s, now)
    if exc.error == "amount_too_low":
        server = "SERVER_ID" if order is None else order.server_id
        return (
            f"The bid of order {order_id} would be below what its host accepts. For the lowest "
            f"accepted bid: clore spot {server}"
        )
    if exc.error != "exceeded_max_step" or step is None:
        return None
    amount, next_step = f"{step:.8f}".rstrip("0").rstrip("."), ""
    if order is None or order.price is None:
        amount += " of its coin a day"
    else:
        amount = f"{rates.price(step, order.currency).text()} ({amount} {order.currency}/day)"
        next_step = f" Now: clore spot-price {order_id} {auction.up(order.price - step):.8f}"
    return (
        f"The bid of order {order_id} can be lowered by at most {amount} at a time, and by as much "
        f"{later(LOWERING_S, now)} at the earliest.{next_step}"
    )
