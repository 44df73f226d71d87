"""Who may rent what: the order in which `create_order` and `cancel_order` refuse; pure.

A rule answers None (go ahead) or the `Refusal` the service would give. What is read from the store
comes in as plain values; nothing here waits, reads a clock or touches a socket.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Optional

from clore_sandbox.values import as_list, as_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clore_sandbox.ask import OrderAsk

__all__ = [
    "ErrorName",
    "Refusal",
    "ServerState",
    "allowed_prices",
    "may_cancel",
    "may_rent",
    "trips_the_service",
]

MAX_ISSUE = 2_048

#: Every `error` of code 6 in api.md section 1, its mix of dashes and underscores included.
ErrorName = Literal[
    "server-dont-exist",
    "server-offline",
    "server-already-rented",
    "not_enough_balance",
    "cant_rent_from_yourself",
    "too_low_price",
    "you_already_have_spot_order",
    "currency-not-allowed",
    "machine-is-on-gigaspot",
    "you_dont_own_this_order",
    "order_not_active",
    "issue_description_too_long",
    "order_dont_exist",
    "amount_too_low",
    "can_lower_every_600_seconds",
    "exceeded_max_step",
    "server_dont_exist",
    "not_all_parameters_present",
    "invalid_mrl",
    "invalid_input",
    # Not the service's: what this marketplace does not do, it says.
    "not_supported_by_the_sandbox",
]


@dataclass(frozen=True)
class Refusal:
    """A rule said no: code 6 with this `error`, and fields that some errors carry."""

    error: ErrorName
    extra: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True)
class ServerState:
    """What the rules need to know of a server at this moment. Prices are units per day."""

    owner: int
    online: bool
    rented: bool
    gigaspot: bool
    prices: Mapping[str, int]


def allowed_prices(prices: Mapping[str, int], record: Mapping[str, object]) -> dict[str, int]:
    """The prices one may pay in: `allowed_coins` decides, whatever else has a price."""
    allowed = as_list(record.get("allowed_coins")) or []
    return {coin: price for coin, price in prices.items() if coin in allowed}


def is_on_gigaspot(record: Mapping[str, object]) -> bool:
    """`gigaspot` is a bool or an object (api.md section 3); an object means that it takes part."""
    value = record.get("gigaspot")
    return value is True or bool(as_object(value))


def trips_the_service(ask: OrderAsk) -> bool:
    """Whether the live service answers HTTP 500 / code 1 to this, creating nothing.

    Seen for an environment value that contains `&` (api.md section 1, generic failure).
    """
    return any("&" in value for value in ask.env.values())


def may_rent(  # noqa: PLR0911 - one return a rule, in the order in which they apply
    ask: OrderAsk, *, account: int, server: Optional[ServerState], balance: int, first_cost: int
) -> Optional[Refusal]:
    """Whether this account may rent this server on demand now.

    The order of the checks is not documented; it goes from the server to the money, so that what
    no change of the order could mend is said first.
    """
    if server is None:
        return Refusal("server-dont-exist")
    if server.owner == account:
        return Refusal("cant_rent_from_yourself")
    if not server.online:
        return Refusal("server-offline")
    if server.gigaspot:
        return Refusal("machine-is-on-gigaspot")
    if server.rented:
        return Refusal("server-already-rented")
    price = server.prices.get(ask.coin)
    if price is None:
        return Refusal("currency-not-allowed")
    # `required_price` is the list price the renter saw, per day: the host has raised it since.
    if ask.required_price is not None and ask.required_price < price:
        return Refusal("too_low_price")
    if balance < first_cost:
        return Refusal("not_enough_balance")
    return None


def may_cancel(
    *, account: int, owner: Optional[int], ended: bool, issue: Optional[str]
) -> Optional[Refusal]:
    """Whether this account may cancel an order of `owner` (None: no such order)."""
    if issue is not None and len(issue) > MAX_ISSUE:
        return Refusal("issue_description_too_long")
    # An unknown order is not told apart from somebody else's: cancel's list has no other word.
    if owner != account:
        return Refusal("you_dont_own_this_order")
    if ended:
        return Refusal("order_not_active")
    return None
