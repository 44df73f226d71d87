"""The market's rules: the states of an order, and who may rent and cancel what; pure.

A rule returns None (allowed) or the `Refusal` that the service would give. Data from the store is
passed in as plain values; nothing here waits, reads a clock or does I/O.

An order is in one of three states, and at most one order of a server is running:

- `waiting`: new, or outbid. It has no room and is not billed. A new order runs at once if it wins.
- `running`: it has the server. Its room boots; it is billed, except while its host is offline.
- `ended`: final.

auction.py decides which order has a server; an order `wins` when it gets the server, and `loses`
when it is outbid. The documents say that an outbid order "ends" (001) or is `paused` (002); since
`spot_marketplace` lists offers that are not `active`, it waits (service.md section 5).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from clore_sandbox.values.json_types import as_list, as_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clore_sandbox.rules.order_request import OrderRequest

__all__ = [
    "TRANSITIONS",
    "ErrorName",
    "Event",
    "Refusal",
    "ServerState",
    "State",
    "Transition",
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
class Transition:
    """The effect of an event on an order: its next state, and what happens to its room."""

    state: State
    room: Literal["boots", "ends", "stays"]


TRANSITIONS: Mapping[tuple[State, Event], Transition] = {
    ("waiting", "wins"): Transition("running", "boots"),
    ("running", "loses"): Transition("waiting", "ends"),
    ("waiting", "cancelled"): Transition("ended", "stays"),
    ("running", "cancelled"): Transition("ended", "ends"),
    ("waiting", "no_balance"): Transition("ended", "stays"),
    ("running", "no_balance"): Transition("ended", "ends"),
    ("waiting", "max_rental"): Transition("ended", "stays"),
    ("running", "max_rental"): Transition("ended", "ends"),
}
"""All transitions; no other can happen."""

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
"""Every `error` of code 6 in service.md section 1, with its mix of dashes and underscores."""


@dataclass(frozen=True)
class Refusal:
    """A rule refuses: code 6 with this `error`, and the further fields of some errors."""

    error: ErrorName
    extra: Mapping[str, object] = field(default_factory=dict[str, object])


@dataclass(frozen=True)
class ServerState:
    """The facts about a server that the rules need. Prices are units per day.

    `rented` means on demand: a server with a running spot order can be rented on demand, and the
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
    """The prices in coins that `allowed_coins` names; other coins may have prices too."""
    allowed = as_list(record.get("allowed_coins")) or []
    return {coin: price for coin, price in prices.items() if coin in allowed}


def is_on_gigaspot(record: Mapping[str, object]) -> bool:
    """`gigaspot` is a bool or an object (service.md, 3); an object means true."""
    value = record.get("gigaspot")
    return value is True or bool(as_object(value))


def trips_the_service(ask: OrderRequest) -> bool:
    """Whether the live service answers this with HTTP 500 / code 1, creating nothing.

    Observed for an environment value that contains `&` (service.md section 1, generic failure).
    """
    return any("&" in value for value in ask.env.values())


def may_have(account: int, server: ServerState | None) -> Refusal | None:
    """Whether this account may rent this server now, at any price.

    The order of the checks is not documented. Here the server comes before the money, so that the
    reasons that no other order could avoid come first.
    """
    if server is None:
        return Refusal("server-dont-exist")
    if server.owner == account:
        return Refusal("cant_rent_from_yourself")
    if not server.online:
        return Refusal("server-offline")
    if server.gigaspot:
        return Refusal("machine-is-on-gigaspot")
    # For a bid too: while the server is rented on demand, no bid can win.
    return Refusal("server-already-rented") if server.rented else None


def may_rent(
    ask: OrderRequest, *, account: int, server: ServerState | None, balance: int, first_cost: int
) -> Refusal | None:
    """Whether this account may create this order now, on demand or as a bid.

    A bid must reach `min_pricing` of its coin, and there is one spot order per user and server
    (service.md section 5). A renter must be able to pay the first minute, also for a losing bid.
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
    # `required_price` is the list price per day that the renter saw; the host has raised it.
    elif ask.required_price is not None and ask.required_price < price:
        return Refusal("too_low_price")
    return Refusal("not_enough_balance") if balance < first_cost else None


def may_cancel(
    *, account: int, owner: int | None, ended: bool, issue: str | None
) -> Refusal | None:
    """Whether this account may cancel an order of `owner` (None: no such order)."""
    if issue is not None and len(issue) > MAX_ISSUE:
        return Refusal("issue_description_too_long")
    # The service has no other error for an unknown order than for one of another account.
    if owner != account:
        return Refusal("you_dont_own_this_order")
    if ended:
        return Refusal("order_not_active")
    return None
