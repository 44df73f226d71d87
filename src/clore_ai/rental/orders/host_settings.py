"""Change a hosted server's settings.

The service wants all of them together: what is missing gives ``not_all_parameters_present``
(service.md, 3). So the config is read first, and what the caller left out is filled in from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clore_ai._api import endpoints
from clore_ai._api.steps import Flow, request
from clore_ai.exceptions import InvalidInputError

if TYPE_CHECKING:
    from clore_ai.models import ServerConfig
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
    """The service's answer to the settings given, merged with those in force.

    Raises:
        InvalidInputError: a value is out of range; nothing was sent.
        FieldError: refused, e.g. `server_dont_exist`, `invalid_mrl`.
    """
    if mrl is not None and mrl < 1:
        raise InvalidInputError(f"mrl is the maximum rental length in hours, not {mrl}.", 2)
    for what, price in (("on_demand", on_demand), ("spot", spot)):
        if price is not None and not 0 < price < float("inf"):
            raise InvalidInputError(f"{what} is a price per day above 0, not {price!r}.", 2)
    given: dict[str, Any] = {
        "availability": availability,
        "mrl": mrl,
        "on_demand": on_demand,
        "spot": spot,
    }
    if None in given.values():
        config = yield from request(endpoints.server_config(name), session.rules)
        known = _known(config)
        given = {k: known.get(k) if v is None else v for k, v in given.items()}
    body = {"name": name} | {k: v for k, v in given.items() if v is not None}
    return (yield from request(endpoints.set_server_settings(body), session.rules))


def _known(config: ServerConfig) -> dict[str, Any]:
    """The settings in force, in the old form's words; its prices are in bitcoin (004's example)."""
    return {
        "availability": config.availability,
        "mrl": config.mrl,
        "on_demand": (config.pricing or {}).get("bitcoin"),
        "spot": (config.spot_pricing or {}).get("bitcoin"),
    }
