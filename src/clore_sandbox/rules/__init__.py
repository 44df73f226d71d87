"""The market's rules: an order's life as a table, and who may rent and cancel what; pure.

A rule answers None (go ahead) or the `Refusal` the service would give. What is read from the store
comes in as plain values; nothing here waits, reads a clock or touches a socket.

An order is in one of three states, and no two orders of one server are ever both running:

- `waiting`: made, or outbid. No room, no billing; a new order is here for no time at all.
- `running`: it has the server. Its room boots, its time is billed (not while its host is offline).
- `ended`: for good.

Which order has a server is auction.py's to say; it `wins` where it had not and `loses` where it
had. The documents say that an outbid order "ends" (001) and that it is `paused` (002); offers that
are not `active` stand in `spot_marketplace`, so it waits (service.md section 5).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from clore_sandbox.values.json_types import as_list, as_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clore_sandbox.rules.order_request import OrderAsk

__all__ = [
    "TRANSITIONS",
    "ErrorName",
    "Event",
    "Refusal",
    "ServerState",
    "State",
    "Turn",
    "allowed_prices",
    "may_cancel",
    "may_have",
    "may_rent",
    "trips_the_service",
]

MAX_ISSUE = 2_048

State = Literal["waiting", "running", "ended"]
Event = Literal["wins", "loses", "cancelled", "no_balance", "max_rental"]


@dataclass(frozen=True)
class Turn:
    """What an event makes of an order: its next state, and what becomes of its room."""

    state: State
    room: Literal["boots", "ends", "stays"]


TRANSITIONS: Mapping[tuple[State, Event], Turn] = {
    ("waiting", "wins"): Turn("running", "boots"),
    ("running", "loses"): Turn("waiting", "ends"),
    ("waiting", "cancelled"): Turn("ended", "stays"),
    ("running", "cancelled"): Turn("ended", "ends"),
    ("waiting", "no_balance"): Turn("ended", "stays"),
    ("running", "no_balance"): Turn("ended", "ends"),
    ("waiting", "max_rental"): Turn("ended", "stays"),
    ("running", "max_rental"): Turn("ended", "ends"),
}
"""Every way an order can go; what is not here cannot happen."""

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
]
"""Every `error` of code 6 in service.md section 1, its mix of dashes and underscores included."""


@dataclass(frozen=True)
class Refusal:
    """A rule said no: code 6 with this `error`, and fields that some errors carry."""

    error: ErrorName
    extra: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True)
class ServerState:
    """What the rules need to know of a server at this moment. Prices are units per day.

    `rented` is on demand: a server on which a spot order runs can be rented on demand, and the
    spot order then waits (service.md section 5). `prices` are those of the order's type.
    """

    owner: int
    online: bool
    rented: bool
    gigaspot: bool
    prices: Mapping[str, int]
    own_offer: bool = False
    max_rental_ms: int = 0


def allowed_prices(prices: Mapping[str, int], record: Mapping[str, object]) -> dict[str, int]:
    """The prices one may pay in: `allowed_coins` decides, whatever else has a price."""
    allowed = as_list(record.get("allowed_coins")) or []
    return {coin: price for coin, price in prices.items() if coin in allowed}


def is_on_gigaspot(record: Mapping[str, object]) -> bool:
    """`gigaspot` is a bool or an object (service.md, 3); an object means that it takes part."""
    value = record.get("gigaspot")
    return value is True or bool(as_object(value))


def trips_the_service(ask: OrderAsk) -> bool:
    """Whether the live service answers HTTP 500 / code 1 to this, creating nothing.

    Seen for an environment value that contains `&` (service.md section 1, generic failure).
    """
    return any("&" in value for value in ask.env.values())


def may_have(account: int, server: ServerState | None) -> Refusal | None:
    """Whether this account may rent this server at all now, whatever it pays.

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
    # For a bid too: while the server is rented on demand there is no auction to win.
    return Refusal("server-already-rented") if server.rented else None


def may_rent(
    ask: OrderAsk, *, account: int, server: ServerState | None, balance: int, first_cost: int
) -> Refusal | None:
    """Whether this account may make this order now, on demand or as a bid.

    A bid must reach `min_pricing` of its coin, and there is one spot order per user and server
    (service.md section 5). A renter must be able to pay the first minute, outbid or not.
    """
    refusal = may_have(account, server)
    if refusal is not None or server is None:
        return refusal
    price = server.prices.get(ask.coin)
    if price is None:
        return Refusal("currency-not-allowed")
    if ask.type == "spot":
        if server.own_offer:
            return Refusal("you_already_have_spot_order")
        if ask.spot_price is None or ask.spot_price < price or ask.spot_price == 0:
            return Refusal("too_low_price")
    # `required_price` is the list price the renter saw, per day: the host has raised it since.
    elif ask.required_price is not None and ask.required_price < price:
        return Refusal("too_low_price")
    return Refusal("not_enough_balance") if balance < first_cost else None


def may_cancel(
    *, account: int, owner: int | None, ended: bool, issue: str | None
) -> Refusal | None:
    """Whether this account may cancel an order of `owner` (None: no such order)."""
    if issue is not None and len(issue) > MAX_ISSUE:
        return Refusal("issue_description_too_long")
    # An unknown order is not told apart from somebody else's: cancel's list has no other word.
    if owner != account:
        return Refusal("you_dont_own_this_order")
    if ended:
        return Refusal("order_not_active")
    return None
