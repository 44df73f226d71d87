"""Which orders are over: past their lease, or past what they may cost.

Time is the service's; what was spent is what it says, with the fees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from clore_ai._flow import Flow, clock
from clore_ai.rental.cost import fees, owed_once
from clore_ai.rental.look import orders

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clore_ai.ledger import Intent
    from clore_ai.rental.session import Session

Reason = Literal["lease", "max_cost"]


@dataclass(frozen=True)
class Over:
    """An order that should run no more, and why."""

    intent: Intent
    reason: Reason
    cost_usd: float | None


def due(session: Session) -> Flow[list[Over]]:
    """The orders that run and are over, the longest first.

    Raises:
        CloreAPIError: the service can't be asked; then nothing is known to be over.
        ConfigError: the ledger can't be read.
    """
    rows = yield from orders(session, include_completed=True)
    now = (yield from clock()).wall
    active = {order.id for order in rows if order.active}
    found = [over(i, now, session.worth) for i in session.ledger.running() if i.order_id in active]
    return sorted((o for o in found if o is not None), key=lambda o: o.intent.ends_at or now)


def over(intent: Intent, now: float, worth: Mapping[str, float]) -> Over | None:
    """Is it over? `worth`: USD for one coin, where the intent does not know."""
    cost = cost_usd(intent, worth)
    if intent.ends_at is not None and now >= intent.ends_at:
        return Over(intent, "lease", cost)
    if intent.max_cost_usd is not None and cost is not None and cost >= intent.max_cost_usd:
        return Over(intent, "max_cost", cost)
    return None


def cost_usd(intent: Intent, worth: Mapping[str, float]) -> float | None:
    """What it has cost so far in USD, fees in; None where that is not known."""
    rate = intent.usd_per_coin or worth.get(intent.currency)
    if rate is None or intent.spend is None:
        return None
    once = owed_once(intent.creation_fee, intent.started_at, intent.ended_at or intent.seen_at)
    return (intent.spend + fees(intent.type, intent.spend, once)) * rate
