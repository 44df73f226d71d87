"""Change a hosted server's settings.

The service wants all of them together: a missing one gives ``not_all_parameters_present``
(service.md, 3). So the config is read first, and fills in what the caller left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clore_ai._api import endpoints
from clore_ai._api.steps import Flow, request
from clore_ai.exceptions import InvalidInputError

if TYPE_CHECKING:
    from clore_ai.rental.session import Session


def set_settings(
    session: Session,
    name: str,
    *,
    availability: bool | None = None,
    mrl: int | None = None,
    on_demand: float | None = None,
    spot: float | None = None,
) -> Flow[dict[str, Any]]:
    """The service's answer to the given settings, merged with those in force.

    Raises:
        InvalidInputError: a value is out of range; nothing was sent.
        FieldError: refused, e.g. `server_dont_exist`, `invalid_mrl`.
    """
    if mrl is not None and mrl < 1:
        raise InvalidInputError(f"mrl is the maximum rental length in hours, not {mrl}.", 2)
    for what, price in (("on_demand", on_demand), ("spot", spot)):
        if price is not None and not 0 < price < float("inf"):
            raise InvalidInputError(f"{what} is a price per day above 0, not {price!r}.", 2)
    if None in (availability, mrl, on_demand, spot):
        now = yield from request(endpoints.server_config(name), session.rules)
        availability = now.availability if availability is None else availability
        mrl = now.mrl if mrl is None else mrl
        # The old form's prices are in bitcoin (004's example).
        on_demand = (now.pricing or {}).get("bitcoin") if on_demand is None else on_demand
        spot = (now.spot_pricing or {}).get("bitcoin") if spot is None else spot
    call = endpoints.set_server_settings(
        name, availability=availability, mrl=mrl, on_demand=on_demand, spot=spot
    )
    return (yield from request(call, session.rules))
