"""Changes a spot bid; a request that the service would refuse is not sent (service.md, 1 and 5)."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from clore_ai._api import endpoints
from clore_ai._api.steps import Flow, clock, local, request
from clore_ai.exceptions import CloreAPIError, ConfigError, FieldError

if TYPE_CHECKING:
    from clore_ai.rental.session import Session

TOO_SOON = "can_lower_every_600_seconds"


def set_price(session: Session, order_id: int, price: float) -> Flow[dict[str, Any]]:
    """The service's answer. A bid that was lowered within 600 s is not lowered again.

    Raises:
        FieldError: the service refuses the bid, or is known to, so that it was not sent.
    """
    bids = session.bids
    now = (yield from clock()).mono
    wait_s = math.ceil((yield from local(bids.wait_s, order_id, price, now)))
    if wait_s:
        raise FieldError(
            f"set_spot_price: {TOO_SOON} - the bid of order {order_id} can be lowered again in "
            f"{wait_s} s; raising is free. Nothing was sent.",
            6,
            {"code": 6, "error": TOO_SOON, "time_to_lowering": wait_s},
        )
    try:
        answer = yield from request(endpoints.set_spot_price(order_id, price), session.rules)
    except CloreAPIError as exc:
        left_s = exc.lowering_in_s if isinstance(exc, FieldError) else None
        now = (yield from clock()).mono
        with suppress(ConfigError):  # the bid is set, recorded or not
            if exc.error == TOO_SOON and left_s is not None:
                yield from local(bids.refused, order_id, price, left_s, now)
            elif exc.maybe_acted:
                yield from local(bids.unknown, order_id)
        raise
    now = (yield from clock()).mono
    with suppress(ConfigError):
        yield from local(bids.accepted, order_id, price, now)
    return answer
