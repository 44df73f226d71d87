"""Warnings about unnoticed costs, one line each: orders near their end, wallets that run out.

From the ledger alone; the service is not asked. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clore_ai.models.price import DAY_S
from clore_ai.rental.spend import lease
from clore_ai.rental.spend.budget import fee_share

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from clore_ai.models.records import Intent


def of_leases(running: Iterable[Intent], now: float) -> str | None:
    """One line on the orders that are past their lease, and on those near its end."""
    near = sorted((i for i in running if lease.is_near(i, now)), key=lambda i: i.ends_at or now)
    past = [str(i.order_id) for i in near if (i.ends_at or now) <= now]
    soon = [
        f"{i.order_id} in {lease.left((i.ends_at or now) - now)}"
        for i in near
        if (i.ends_at or now) > now
    ]
    parts: list[str] = []
    if past:
        parts.append(f"Past the lease, and billed: order {_named(past)} (end it: clore reap).")
    if soon:
        hint = "keep it: clore lease extend ID 6h"
        parts.append(f"The lease ends soon: order {_named(soon)} ({hint}).")
    return " ".join(parts) or None


def of_endless(running: Iterable[Intent]) -> str | None:
    """One line on the orders rented here that the user knows of and that nothing ends."""
    unlimited = (i for i in running if i.ends_at is None and i.max_cost_usd is None)
    endless = [str(i.order_id) for i in unlimited if not i.unacknowledged and i.enforced != "reap"]
    if not endless:
        return None
    return f"Billed until you cancel: order {_named(endless)}. Set an end: clore lease set ID 6h"


def of_wallets(
    running: Iterable[Intent], balances: Mapping[str, tuple[float, float]], now: float
) -> str | None:
    """One line on the wallets that run out before the leases they pay for end.

    `balances`: by coin, when it was read and how much it held.
    """
    by_coin: dict[str, list[Intent]] = {}
    for intent in running:
        by_coin.setdefault(intent.currency, []).append(intent)
    dry: list[str] = []
    for coin, (at, balance) in sorted(balances.items()):
        empty_at = runs_dry(by_coin.get(coin, []), at, balance)
        if empty_at is not None:
            dry.append(f"{coin} in about {lease.left(empty_at - now)}")
    if not dry:
        return None
    return (
        f"A wallet runs out before the leases that it pays for end: {', '.join(dry)}. "
        "Top up, or cancel in time."
    )


def runs_dry(running: list[Intent], at: float, balance: float) -> float | None:
    """When a wallet that held `balance` at a time runs out, if that is before the last lease ends.

    Orders are paid until their lease ends; orders without a lease are paid all the time.
    """
    paid = [(i.ends_at, (i.price or 0) * (1 + fee_share(i)) / DAY_S) for i in running]
    ends = sorted({end for end, _ in paid if end is not None and end > at})
    for end in ends:
        rate = sum(a_second for until, a_second in paid if until is None or until >= end)
        cost = rate * (end - at)
        if cost > balance and rate > 0:
            return at + balance / rate
        at, balance = end, balance - cost
    return None


def _named(texts: list[str], most: int = 5) -> str:
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
