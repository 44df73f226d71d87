"""Why an order ended, in the same words everywhere. Pure.

The ledger has the ends that this machine caused (`Intent.reason`): a cancel, a limit, a failed
verification. The others are derived once, when the end is first seen: from the order's row, the
wallet that paid for it, and its server's auction. An unknown cause is "ended elsewhere": by another
program, on the web site, or by the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clore_ai.models.price import DAY_S
from clore_ai.rental.market.cost import CREATION_FEE_AFTER_S, fees

if TYPE_CHECKING:
    from clore_ai.models import Order

CANCELLED = "cancelled here"
LEASE = "lease over"
MAX_COST = "--max-cost reached"
LONGEST = "longest rental reached"
WALLET = "wallet empty"
OUTBID = "outbid"
ELSEWHERE = "ended elsewhere"
UNLISTED = "no longer listed"

_OF_LIMITS = {"lease": LEASE, "max_cost": MAX_COST}

MEANT = frozenset({CANCELLED, LEASE, MAX_COST, LONGEST, WALLET})
"""Ends that are not the host's fault: another machine would end the same way, or is not wanted."""

_HOW = {
    WALLET: ": the {coin} wallet is empty. Top it up before you rent again; see clore wallets.",
    ELSEWHERE: " elsewhere: another program, the web site or its host ended it.",
    UNLISTED: ": the service no longer lists it.",
    OUTBID: ": it was outbid.",
}

TICK_S = 60.0
"""Billing happens about once a minute (service.md, 4)."""


@dataclass(frozen=True)
class Evidence:
    """What was seen just after the end. `balance`: of the wallet; None if it is not known."""

    balance: float | None = None
    outbid: bool = False
    """Is a higher bid running on its server?"""


def why(order: Order, seen: Evidence = Evidence()) -> str:
    """Why an order ended that was not ended here."""
    ran_s = None if order.ct is None or order.order_end is None else order.order_end - order.ct
    if ran_s is not None and order.mrl and ran_s > order.mrl - TICK_S:
        return LONGEST
    if seen.balance is not None and order.price and seen.balance < _tick(order):
        return WALLET
    if seen.outbid or (order.status or "").lower() == OUTBID:
        return OUTBID
    return ELSEWHERE


def _tick(order: Order) -> float:
    """The cost of the next minute, in the order's coin."""
    a_minute = (order.price or 0.0) * TICK_S / DAY_S
    # Is a creation fee about to be charged? Then less than ten minutes and a tick were billed.
    billed_s = (order.spend or 0.0) / a_minute * TICK_S
    due = CREATION_FEE_AFTER_S - TICK_S <= billed_s <= CREATION_FEE_AFTER_S + TICK_S
    return a_minute + fees(order.type, a_minute, (order.creation_fee or 0.0) if due else 0.0)


def of_limit(reason: str) -> str:
    """The words for an order's end at this limit."""
    return _OF_LIMITS[reason]


def sentence(order: Order, reason: str) -> str:
    """The message for the end of an order, and the next step if there is one."""
    where = "" if order.server_id is None else f" on server {order.server_id}"
    how = _HOW.get(reason, f": {reason}.").format(coin=order.currency)
    return f"Order {order.id}{where} has ended{how}"
