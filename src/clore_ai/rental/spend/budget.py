"""What may be spent in a calendar day or month, what was spent of it, and what is committed.

Periods are in UTC. *Spent* is the service's `spend` with the renter's fee, spread evenly over an
order's time for the part inside the period, and the creation fee once it is charged. *Committed* is
what running and requested orders will still cost until their lease, their longest rental or the
period ends, whichever comes first. Pure.
"""

from __future__ import annotations

import math
import shlex
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from clore_ai.exceptions import BudgetError
from clore_ai.models.price import DAY_S, USD
from clore_ai.models.records import USD_VALUE, Budget, BudgetStanding
from clore_ai.rental.market.cost import CREATION_FEE, CREATION_FEE_AFTER_S, FEE_SHARE
from clore_ai.rental.spend import lease

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from clore_ai.models.price import Rates
    from clore_ai.models.records import Intent, Per

_ROUNDING = 1e-9


def period(per: Per, now: float) -> tuple[float, float]:
    """Start and end, unix seconds, of the UTC day or month that contains `now`."""
    start = datetime.fromtimestamp(now, timezone.utc).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    if per == "day":
        return start.timestamp(), (start + timedelta(days=1)).timestamp()
    start = start.replace(day=1)
    return start.timestamp(), (start + timedelta(days=32)).replace(day=1).timestamp()


def cost_within(intent: Intent, now: float, start: float, end: float) -> tuple[float, float] | None:
    """What an order cost and will cost within a period, in its coin; None if not known."""
    begun = intent.started_at or intent.posted_at or now
    if intent.state == "refused" or (intent.ended_at is not None and intent.ended_at <= start):
        return 0.0, 0.0
    share = 1 + fee_share(intent)
    spent, once = _once(intent, now, begun, start, end)
    # The amount spent is known as of the last look; the cost from there on is committed.
    seen = intent.ended_at or max(begun, intent.seen_at or begun)
    if intent.state == "created":
        billed = intent.spend
        if billed is None and intent.price is not None:
            billed = intent.price * (seen - begun) / DAY_S
        if billed is None:
            return None
        spent += billed * share * _part(begun, seen, start, end)
    if intent.ended_at is not None:
        return spent, 0.0
    if intent.price is None:
        return None
    until = min(end, max(now, _end(intent, begun)))
    coming = once + intent.price * share * max(0.0, until - max(seen, start)) / DAY_S
    return (spent, coming) if intent.state == "created" else (0.0, spent + coming)


def _once(
    intent: Intent, now: float, begun: float, start: float, end: float
) -> tuple[float, float]:
    """The creation fee charged within a period, and the one still to be charged."""
    at = begun + CREATION_FEE_AFTER_S
    fee = intent.creation_fee
    fee = CREATION_FEE.get(intent.currency, 0.0) if fee is None else fee
    ends = max(now, _end(intent, begun)) if intent.ended_at is None else intent.ended_at
    if not start <= at < end or ends < at:
        return 0.0, 0.0
    return (fee, 0.0) if at <= (intent.ended_at or now) else (0.0, fee)


def fee_share(intent: Intent) -> float:
    """The renter's fee on top of the price, as a share of it."""
    return FEE_SHARE["spot" if intent.type == "spot" else "on-demand"]


def _end(intent: Intent, begun: float) -> float:
    """When it will end at the latest."""
    ends = [begun + s for s in (intent.lease_s, intent.mrl_s) if s is not None]
    if intent.ends_at is not None:
        ends = [intent.ends_at] + ([] if intent.mrl_s is None else [begun + intent.mrl_s])
    return min(ends, default=math.inf)


def _part(begun: float, until: float, start: float, end: float) -> float:
    """The share of a time span that lies within the period."""
    if until <= begun:
        return 1.0 if start <= begun < end else 0.0
    return max(0.0, min(until, end) - max(begun, start)) / (until - begun)


def stand(budget: Budget, intents: Iterable[Intent], now: float, rates: Rates) -> BudgetStanding:
    """How a budget stands; `rates`: for intents without a recorded rate."""
    start, end = period(budget.per, now)
    spent = committed = 0.0
    for intent in intents:
        value = _value(budget, intent, rates)
        if value == 0:
            continue
        costs = cost_within(intent, now, start, end)
        if costs == (0.0, 0.0):
            continue
        if costs is None or value is None:
            of = f"order {intent.order_id}" if intent.order_id else f"server {intent.server_id}"
            return BudgetStanding(
                budget, end, spent, committed, f"what {of} costs in {budget.unit} is not known"
            )
        spent, committed = spent + costs[0] * value, committed + costs[1] * value
    return BudgetStanding(budget, end, spent, committed)


def _value(budget: Budget, intent: Intent, rates: Rates) -> float | None:
    """One coin of the intent in the budget's unit; 0 if the budget does not count that coin."""
    if budget.unit != USD_VALUE:
        return 1.0 if budget.unit == intent.currency else 0.0
    return rates.usd(intent.currency, intent.usd_per_coin)


def check(
    budgets: Sequence[Budget],
    others: Sequence[Intent],
    new: Intent,
    now: float,
    rates: Rates,
    *,
    was: Intent | None = None,
) -> None:
    """May `new` be rented beside `others`; or, given `was`, may that become `new`?

    Raises:
        BudgetError: it would exceed a budget, or that can't be determined. The message gives the
            sum, and what would fit.
    """
    if not budgets:
        return
    covering = [b for b in budgets if b.unit in (USD_VALUE, new.currency)]
    if not covering:
        names = " and ".join(sorted({b.unit for b in budgets}))
        raise BudgetError(
            f"Your budget is in {names} alone, so nothing can be paid in {new.currency}; set one "
            f"for it with: clore budget set AMOUNT/day --currency {shlex.quote(new.currency)}"
        )
    refused: list[tuple[float, BudgetError]] = []
    for budget in covering:
        standing = stand(budget, [*others, *([was] if was else [])], now, rates)
        alone = stand(budget, [new], now, rates)
        before = stand(budget, [was], now, rates) if was else None
        unknown = alone.unknown or standing.unknown
        wanted = alone.spent + alone.committed
        wanted -= before.spent + before.committed if before else 0.0
        if unknown is None and (wanted <= 0 or standing.left - wanted >= -_ROUNDING):
            continue
        if unknown is not None:
            raise BudgetError(
                f"Your budget of {shown(budget)} can't be checked: {unknown}. Pay in a coin whose "
                "value is known, or remove it with: clore budget unset "
                f"{budget.per}{_coin(budget)}",
                standing=standing,
            )
        a_second = (new.price or 0) * (1 + fee_share(new)) / DAY_S
        a_second *= _value(budget, new, rates) or 0
        once = wanted - a_second * _counted_s(new, now, standing.ends_at) if was is None else 0.0
        fits_s = (standing.left - once) / a_second if a_second > 0 else 0.0
        if once and a_second > 0 and fits_s < CREATION_FEE_AFTER_S:
            fits_s = min(standing.left / a_second, CREATION_FEE_AFTER_S - 1)
        refused.append((fits_s, _over(standing, wanted, fits_s, extend=was is not None)))
    if refused:
        raise min(refused, key=lambda pair: pair[0])[1]


def _counted_s(new: Intent, now: float, end: float) -> float:
    begun = new.started_at or new.posted_at or now
    return max(0.0, min(_end(new, begun), end) - begun)


def _over(standing: BudgetStanding, wanted: float, fits_s: float, *, extend: bool) -> BudgetError:
    budget, unit = standing.budget, standing.budget.unit
    total = standing.spent + standing.committed + wanted
    what = "the longer lease" if extend else "this order"
    said = (
        f"Over your budget of {shown(budget)}: {amount(standing.spent, unit)} spent + "
        f"{amount(standing.committed, unit)} committed + {amount(wanted, unit)} for {what} = "
        f"{amount(total, unit)} {unit} until {lease.moment(standing.ends_at)}."
    )
    raised = f"clore budget set {amount(total, unit, up=True)}/{budget.per}{_coin(budget)}"
    if fits_s < 60:  # noqa: PLR2004 - less than is billed
        said += f" Nothing more fits; raise it with: {raised}"
    elif extend:
        said += f" {lease.words(fits_s)} more would fit; or raise it with: {raised}"
    else:
        said += f" It fits with --lease {lease.words(fits_s)}; or raise it with: {raised}"
    return BudgetError(said, standing=standing, wanted=wanted)


def _coin(budget: Budget) -> str:
    return "" if budget.unit == USD_VALUE else f" --currency {shlex.quote(budget.unit)}"


def shown(budget: Budget) -> str:
    """``20 USD a day``."""
    return f"{amount(budget.amount, budget.unit)} {budget.unit} a {budget.per}"


def amount(value: float, unit: str, *, up: bool = False) -> str:
    """An amount with the significant digits of its unit; `up`: never less than `value`."""
    digits = 2 if unit in (USD_VALUE, USD) else 8
    scaled = value * 10**digits
    value = (math.ceil(scaled - 1e-6) if up else round(scaled)) / 10**digits
    text = f"{value:.{digits}f}"
    return text if digits == 2 and not text.endswith(".00") else text.rstrip("0").rstrip(".")  # noqa: PLR2004 - cents
