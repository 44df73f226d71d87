"""How far an order is from its limits: the end of its lease, and the most that it may cost.

Time is the service's; what was spent is what it says, with the fees. A limit is the order's own
(`Intent.ends_at`, `Intent.max_cost_usd`), so whoever ends an order goes by the same rule: it is
near at 90 %, and its end begins as long before the limit as ending takes, so that the order is gone
by then. Pure, but for `due`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Literal

from clore_ai._api.steps import Flow, clock, local
from clore_ai.models.price import DAY_S, Price
from clore_ai.rental.market.cost import FEE_SHARE, Cost, fees, owed_once
from clore_ai.rental.orders.reconcile import orders
from clore_ai.rental.spend import lease

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clore_ai.models.price import Rates
    from clore_ai.models.records import Intent
    from clore_ai.rental.session import Session

Reason = Literal["lease", "max_cost"]

CANCEL_S = 10.0
"""From the decision to end an order to its end; the last fetch comes on top."""
BILLED_S = 60.0
"""Billing stops within about a minute of a cancel (service.md, 4)."""
NEAR_SHARE = 0.1
"""Of the whole lease that is left when the limit is near; no order is ended before that."""


@dataclass(frozen=True)
class Limit:
    """One limit of an order, and how far it is."""

    intent: Intent
    reason: Reason
    left_s: float
    """Until it is reached, at the order's price; below 0 where that is past."""
    whole_s: float
    """From the order's start to the limit."""
    cost_usd: float | None
    """So far, fees in."""

    @property
    def near(self) -> bool:
        """Is 90 % of it used?"""
        return self.left_s <= NEAR_SHARE * self.whole_s

    def begins_in_s(self, ending_s: float = 0.0, pace: float = 1.0) -> float:
        """When the end is to begin, so that the order is gone at the limit; 0 or less: now.

        Args:
            ending_s: how long the end takes beyond the cancel: the last fetch.
            pace: seconds of the service that pass in one of this machine.
        """
        billed_s = BILLED_S if self.reason == "max_cost" else 0.0
        takes_s = (CANCEL_S + ending_s) * pace + billed_s
        return self.left_s - min(takes_s, NEAR_SHARE * self.whole_s)

    def __str__(self) -> str:
        """``Order 7 has cost $0.49 of at most $0.50``."""
        intent = self.intent
        if self.reason == "max_cost":
            return (
                f"Order {intent.order_id} has cost ${self.cost_usd or 0:.2f} of at most "
                f"${intent.max_cost_usd or 0:.2f}"
            )
        ends = "ended" if self.left_s <= 0 else "ends"
        return f"The lease of order {intent.order_id} {ends} at {lease.moment(intent.ends_at or 0)}"


def due(session: Session) -> Flow[list[Limit]]:
    """The orders that run and are over, the longest first.

    Raises:
        CloreAPIError: the service can't be asked; then nothing is known to be over.
        ConfigError: the ledger can't be read.
    """
    rows = yield from orders(session, include_completed=True)
    now = (yield from clock()).wall
    active = {order.id for order in rows if order.active}
    running = yield from local(session.ledger.running)
    found = [over(i, now, session.rates) for i in running if i.order_id in active]
    return sorted((o for o in found if o is not None), key=lambda o: o.intent.ends_at or now)


def leased(intents: Iterable[Intent]) -> list[Intent]:
    """Those that have a limit and, as far as is known, run."""
    return [i for i in intents if i.runs and (i.ends_at or i.max_cost_usd) is not None]


def over(intent: Intent, now: float, rates: Rates) -> Limit | None:
    """The limit that it is past; None where it is past none. `rates`: as in `limits`."""
    return next((each for each in limits(intent, now, rates) if each.left_s <= 0), None)


def limits(intent: Intent, now: float, rates: Rates) -> list[Limit]:
    """The limits that it has, as far as they can be told.

    `rates`: for intents that have none noted.
    """
    found: list[Limit] = []
    cost = cost_usd(intent, rates)
    if intent.ends_at is not None:
        begun = intent.started_at or intent.posted_at or intent.opened_at
        whole_s = max(0.0, intent.ends_at - begun)
        found.append(Limit(intent, "lease", intent.ends_at - now, whole_s, cost))
    if intent.max_cost_usd is not None and cost is not None:
        left_s, whole_s = _lasts_s(intent, intent.max_cost_usd, cost, _rate(intent, rates) or 0.0)
        found.append(Limit(intent, "max_cost", left_s, whole_s, cost))
    return found


def _lasts_s(intent: Intent, most_usd: float, cost: float, rate: float) -> tuple[float, float]:
    """How long its price may go on, and how long that is in all."""
    if not (intent.price and rate):
        return (0.0 if cost >= most_usd else inf), 0.0
    share = FEE_SHARE["spot" if intent.type == "spot" else "on-demand"]
    price = Price(intent.price, intent.currency, rate)
    terms = Cost(price, intent.price * share, intent.creation_fee)
    whole_s = terms.lasts_s(most_usd / rate)
    left_s = whole_s - (intent.spend or 0.0) / intent.price * DAY_S
    return (min(left_s, 0.0) if cost >= most_usd else left_s), whole_s


def cost_usd(intent: Intent, rates: Rates) -> float | None:
    """What it has cost so far in USD, fees in; None where that is not known."""
    rate = _rate(intent, rates)
    if rate is None or intent.spend is None:
        return None
    once = owed_once(intent.creation_fee, intent.started_at, intent.ended_at or intent.seen_at)
    return (intent.spend + fees(intent.type, intent.spend, once)) * rate


def _rate(intent: Intent, rates: Rates) -> float | None:
    """USD for one coin of it."""
    return rates.usd(intent.currency, intent.usd_per_coin)
