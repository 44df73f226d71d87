"""What rentals cost, according to the service: `spend`, the fees on top, and how much wallets fell.

Pure: computed from the ledger's rows. `spend` is never computed from rate and time; it is split in
proportion to the time only if an order ran beyond the period in question.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from clore_ai._values.days import shown
from clore_ai._values.lengths import duration
from clore_ai._values.sizes import counted
from clore_ai.models import price as prices
from clore_ai.models.price import DAY_S
from clore_ai.rental.market.cost import CREATION_FEE_AFTER_S, FEE_SHARE, fees, owed_once

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from clore_ai.models.price import Rates
    from clore_ai.models.records import Balance, Intent

_TICK_S = 60.0
"""Billing happens about once a minute (service.md, 4)."""
_ROUNDING = 1e-8
_RESOLUTION_S = 3.0
"""An order's start is in whole seconds, and the service's time is known to about two."""


COLUMNS = (
    "order_id", "server_id", "gpu", "type", "purpose", "ref", "start", "end", "seconds", "spend",
    "fees", "total", "currency", "usd", "state", "reason", "seen_at",
)  # fmt: skip
"""The columns of `Bill.row`."""


@dataclass(frozen=True)
class Bill:
    """What one order cost between `begin` and `end`; amounts in its coin, None if unknown."""

    intent: Intent
    begin: float
    end: float
    """Until when the order was billed, as last seen; unix seconds."""
    seconds: float
    """How long it was rented in this period; for a running order, until now."""
    spend: float | None
    fees: float | None
    """The renter's fee, at most, and the creation fee if it was charged by then."""
    usd_per_coin: float | None

    @property
    def total(self) -> float | None:
        """The cost, fees included."""
        return None if self.spend is None or self.fees is None else self.spend + self.fees

    @property
    def total_usd(self) -> float | None:
        """The cost in USD, fees included; None if the coin's value is unknown."""
        if self.total is None or self.usd_per_coin is None:
            return None
        return self.total * self.usd_per_coin

    @property
    def state(self) -> str:
        """``running``, ``ended``, or ``uncertain`` if the order may not exist."""
        if self.intent.state != "created":
            return "uncertain"
        return "running" if self.intent.runs else "ended"

    def row(self) -> dict[str, object]:
        """The values as ``clore ledger --json`` and ``--csv`` show them."""
        intent = self.intent
        values = (
            intent.order_id, intent.server_id, intent.gpu, intent.type, intent.purpose,
            intent.client_ref, intent.started_at or intent.posted_at, intent.ended_at,
            self.seconds, self.spend, self.fees, self.total, intent.currency, self.total_usd,
            self.state, intent.reason, intent.seen_at,
        )  # fmt: skip
        return dict(zip(COLUMNS, values))


@dataclass(frozen=True)
class Sum:
    """What several orders cost in one coin."""

    key: str
    orders: int
    seconds: float
    spend: float
    fees: float
    total: float
    """The cost, fees included."""
    currency: str
    usd: float | None
    """Total of the orders with a known value in USD; None if there are none."""
    unknown: int
    """Orders for which the service does not report `spend`."""
    usd_unknown: int
    """Orders whose cost in USD is not known."""


@dataclass(frozen=True)
class Wallet:
    """How much a wallet fell between two looks, and how much of it the orders explain."""

    currency: str
    since: float
    until: float
    fell: float
    explained: float
    unexplained: float | None
    """The difference; None if it is within one tick of the cost of that period's orders."""

    def in_words(self) -> str:
        """How much the wallet fell or rose, and what may explain the difference."""
        moved = "fell" if self.fell >= 0 else "rose"
        text = (
            f"Wallet {prices.short(self.currency)}: {moved} by {prices.coin(abs(self.fell))} since "
            f"{shown(self.since)}; the orders explain {prices.coin(self.explained)}"
        )
        if self.unexplained is None:
            return f"{text}."
        if self.unexplained > 0:
            return (
                f"{text}, {prices.coin(self.unexplained)} less: a withdrawal, or orders that are "
                "not in the ledger (clore orphans)."
            )
        return f"{text}, {prices.coin(-self.unexplained)} more: a deposit, earnings, or lower fees."


def bill(intent: Intent, now: float, rates: Rates) -> Bill:
    """What an intent cost so far. `rates`: of now, for an intent without a recorded rate."""
    begin = intent.started_at or intent.posted_at or intent.opened_at
    end = max(begin, intent.ended_at or intent.seen_at or begin)
    ran_until = intent.ended_at or (now if intent.runs else begin)
    once = owed_once(intent.creation_fee, begin, end)
    return Bill(
        intent,
        begin,
        end,
        max(0.0, ran_until - begin),
        intent.spend,
        None if intent.spend is None else fees(intent.type, intent.spend, once),
        rates.usd(intent.currency, intent.usd_per_coin),
    )


def within(whole: Bill, begin: float, end: float) -> Bill | None:
    """The part of a bill that falls between two moments; None if nothing does.

    The creation fee falls on the moment when it is charged, 10 minutes after the start.
    """
    ran_until = whole.begin + whole.seconds
    first, last = max(begin, whole.begin), min(end, max(ran_until, whole.end))
    starts = begin <= whole.begin < end
    owed = begin <= whole.begin + CREATION_FEE_AFTER_S < end
    if last <= first and not starts and not owed:
        return None
    span = whole.end - whole.begin
    share = max(0.0, min(end, whole.end) - first) / span if span > 0 else float(starts)
    seconds = max(0.0, min(end, ran_until) - first)
    if whole.spend is None:
        return replace(whole, begin=first, end=last, seconds=seconds)
    spend = whole.spend * share
    once = owed_once(whole.intent.creation_fee, whole.begin, whole.end) if owed else 0.0
    return replace(
        whole,
        begin=first,
        end=last,
        seconds=seconds,
        spend=spend,
        fees=fees(whole.intent.type, spend, once),
    )


def add_up(keyed: Iterable[tuple[str, Bill]]) -> list[Sum]:
    """One sum per key and coin; the keys keep their order."""
    groups: dict[tuple[str, str], list[Bill]] = defaultdict(list)
    for key, each in keyed:
        groups[key, each.intent.currency].append(each)
    places = {key: place for place, key in enumerate(dict.fromkeys(key for key, _ in groups))}
    return [
        _sum(key, coin, groups[key, coin])
        for key, coin in sorted(groups, key=lambda pair: (places[pair[0]], pair[1]))
    ]


def in_words(total: Sequence[Sum]) -> str:
    """The sums by coin in one sentence, and what they leave out."""
    coins = ", ".join(f"{prices.coin(s.total)} {prices.short(s.currency)}" for s in total)
    known = [s.usd for s in total if s.usd is not None]
    usd = f"= ${sum(known):.2f}" if known else "USD -"
    count, seconds = sum(s.orders for s in total), sum(s.seconds for s in total)
    text = f"Total: {counted(count, 'order')}, {duration(seconds)}, {coins} {usd}"
    unknown, unpriced = sum(s.unknown for s in total), sum(s.usd_unknown for s in total)
    if unknown:
        text += f"; without {unknown} whose spend is not known"
    if unpriced > unknown:
        text += f"; USD without {unpriced - unknown} whose coin's worth is not known"
    return f"{text}."


def _sum(key: str, coin: str, bills: Sequence[Bill]) -> Sum:
    usd = [each.total_usd for each in bills]
    known = [value for value in usd if value is not None]
    spend = sum(each.spend or 0.0 for each in bills)
    fees = sum(each.fees or 0.0 for each in bills)
    return Sum(
        key,
        len({each.intent.id for each in bills}),
        sum(each.seconds for each in bills),
        spend,
        fees,
        spend + fees,
        coin,
        sum(known) if known else None,
        sum(each.spend is None for each in bills),
        len(usd) - len(known),
    )


def wallets(balances: Sequence[Balance], bills: Sequence[Bill]) -> list[Wallet]:
    """By coin: from the first to the last of `balances`; coins with only one look are omitted."""
    found: list[Wallet] = []
    for coin in dict.fromkeys(each.coin for each in balances):
        looks = [each for each in balances if each.coin == coin]
        first, last = looks[0], looks[-1]
        if last.at <= first.at:
            continue
        since = first.at - _RESOLUTION_S
        parts = [
            part
            for each in bills
            if each.intent.currency == coin and (part := within(each, since, last.at))
        ]
        fell = first.balance - last.balance
        explained = sum(part.total or 0.0 for part in parts)
        is_more = abs(fell - explained) > sum(_tick(part) for part in parts) + _ROUNDING
        rest = fell - explained if is_more else None
        found.append(Wallet(coin, first.at, last.at, fell, explained, rest))
    return found


def _tick(part: Bill) -> float:
    share = FEE_SHARE["spot" if part.intent.type == "spot" else "on-demand"]
    return (part.intent.price or 0.0) * (1 + share) * _TICK_S / DAY_S
