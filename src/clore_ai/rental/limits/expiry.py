"""How far an order is from its limits: the end of its lease, and its cost limit.

Time is the service's; the amount spent is the service's, plus fees. Limits belong to the order
(`Intent.ends_at`, `Intent.max_cost_usd`), so that every command ends an order by the same rule: a
limit is near at 90 %, and the order's end starts early enough that the order is gone at the limit.
Pure, but for `due`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Literal

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
"""A limit is near once this share of the time is left; no order is ended earlier than that."""


@dataclass(frozen=True)
class Limit:
    """One limit of an order, and how near it is."""

    intent: Intent
    reason: Reason
    left_s: float
    """Seconds until it is reached, at the order's price; below 0 if it is past."""
    whole_s: float
    """Seconds from the order's start to the limit."""
    cost_usd: float | None
    """The cost so far, fees included."""

    def row(self) -> dict[str, Any]:
        """The limit for ``--json``."""
        return {
            "order_id": self.intent.order_id,
            "reason": self.reason,
            "ends_at": self.intent.ends_at,
            "cost_usd": self.cost_usd,
        }

    @property
    def near(self) -> bool:
        """Is 90 % of it used?"""
        return self.left_s <= NEAR_SHARE * self.whole_s

    def begins_in_s(self, ending_s: float = 0.0, pace: float = 1.0) -> float:
        """Seconds until the end has to start for the order to be gone at the limit; 0 or less: now.

        Args:
            ending_s: how long the end takes beyond the cancel: the last fetch.
            pace: seconds of the service that pass in one second of this machine.
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
    """The running orders that are past a limit, the longest past first.

    Raises:
        CloreAPIError: the service can't be asked, so that it is not known what is past.
        ConfigError: the ledger can't be read.
    """
    rows = yield from orders(session, include_completed=True)
    now = (yield from clock()).wall
    active = {order.id for order in rows if order.active}
    running = yield from local(session.ledger.running)
    found = [over(i, now, session.rates) for i in running if i.order_id in active]
    return sorted((o for o in found if o is not None), key=lambda o: o.intent.ends_at or now)


def leased(intents: Iterable[Intent]) -> list[Intent]:
    """Intents that have a limit and, as far as is known, run."""
    return [i for i in intents if i.runs and (i.ends_at or i.max_cost_usd) is not None]


def over(intent: Intent, now: float, rates: Rates) -> Limit | None:
    """The limit that an order is past; None if it is past none. `rates`: as in `limits`."""
    return next((each for each in limits(intent, now, rates) if each.left_s <= 0), None)


def limits(intent: Intent, now: float, rates: Rates) -> list[Limit]:
    """The limits of an order, as far as they are known.

    `rates`: for intents without a recorded rate.
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
    """How many seconds of the order are still paid for, and how many in total."""
    if not (intent.price and rate):
        return (0.0 if cost >= most_usd else inf), 0.0
    share = FEE_SHARE["spot" if intent.type == "spot" else "on-demand"]
    price = Price(intent.price, intent.currency, rate)
    terms = Cost(price, intent.price * share, intent.creation_fee)
    whole_s = terms.lasts_s(most_usd / rate)
    left_s = whole_s - (intent.spend or 0.0) / intent.price * DAY_S
    return (min(left_s, 0.0) if cost >= most_usd else left_s), whole_s


def cost_usd(intent: Intent, rates: Rates) -> float | None:
    """The cost so far in USD, fees included; None if that is not known."""
    rate = _rate(intent, rates)
    if rate is None or intent.spend is None:
        return None
    once = owed_once(intent.creation_fee, intent.started_at, intent.ended_at or intent.seen_at)
    return (intent.spend + fees(intent.type, intent.spend, once)) * rate


def _rate(intent: Intent, rates: Rates) -> float | None:
    """USD for one coin of the order."""
    return rates.usd(intent.currency, intent.usd_per_coin)
