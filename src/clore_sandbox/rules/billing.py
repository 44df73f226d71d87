"""Computes what a rental costs, tick by tick; pure: times and balances are passed in.

service.md section 4: `spend` = price x billed seconds / 86,400 without fees, in ticks of about a
minute; the renter's fee comes on top (on-demand 5 %, spot 1.25 %). Here a tick is 60 s and is
charged when it begins: a fresh $2 order has spent 0.001388…, and one cancelled after 948 s was
billed 16 ticks. The creation fee is charged once, with the first tick that begins 10 minutes or
more after the order was created; an order that is cancelled before pays none. An order ends when
the next tick cannot be paid, or at its maximum rental length.

The amount after n ticks is computed by one integer division, so rounding errors do not add up: a
wallet loses exactly what the host earns plus the fees. An outbid order and an order whose host is
offline are not billed; when they resume, or a bid changes, the count of ticks restarts after the
paid minute, on top of the earlier costs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from clore_sandbox.values.money import DAY_S, UNITS_PER_COIN

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "CREATION_FEE_AFTER_MS",
    "FEE_PPM",
    "TICK_MS",
    "Bill",
    "EndReason",
    "creation_fee",
    "settle",
]

TICK_MS = 60_000
CREATION_FEE_AFTER_MS = 600_000
FEE_PPM = {"on-demand": 50_000, "spot": 12_500}
"""Renter's fee in parts per million of the price, by order type (service.md section 4)."""

EndReason = Literal["cancelled", "no_balance", "max_rental"]


def creation_fee(coin: str) -> int:
    """Units charged once per order: 0.1 was observed on a USD order, none on others."""
    return UNITS_PER_COIN // 10 if coin == "USD-Blockchain" else 0


@dataclass(frozen=True)
class Bill:
    """The bill of one open order.

    `price` is units per day. Ticks are counted from `start_ms`; `ticks` of them are paid, on top
    of `base_spend` and `base_fee`. `last_ms` is the latest end of the order. While it is not
    `billed`, `start_ms` is the time up to which it has paid. `creation_fee` is due at
    `creation_fee_ms`; `creation_paid` is the whole fee or 0.
    """

    order: int
    price: int
    fee_ppm: int
    start_ms: int
    last_ms: int
    ticks: int = 0
    base_spend: int = 0
    base_fee: int = 0
    creation_fee: int = 0
    creation_fee_ms: int = 0
    creation_paid: int = 0
    billed: bool = True
    ended_ms: int | None = None
    reason: EndReason | None = None

    @property
    def spend(self) -> int:
        """Units paid for the rental so far, without fees."""
        return self.base_spend + self.price * self.ticks * TICK_MS // (DAY_S * 1000)

    @property
    def fee(self) -> int:
        """Units of the renter's fee so far."""
        parts = self.price * self.ticks * TICK_MS * self.fee_ppm
        return self.base_fee + parts // (DAY_S * 1000 * 1_000_000)

    @property
    def charges(self) -> int:
        """Units of all fees so far."""
        return self.fee + self.creation_paid

    @property
    def charged(self) -> int:
        """Units that left the wallet so far."""
        return self.spend + self.charges

    @property
    def due_ms(self) -> int:
        """When the next tick begins."""
        return self.start_ms + self.ticks * TICK_MS

    @property
    def next_event_ms(self) -> int:
        """When it next changes by itself: at its next tick, or its end."""
        return min(self.due_ms, self.last_ms) if self.billed else self.last_ms

    def paused(self) -> Bill:
        """Not billed after the end of the paid tick."""
        return replace(self._counted_anew(), billed=False)

    def resumed(self, now_ms: int) -> Bill:
        """Billed again from now; a paid minute is not paid twice."""
        return replace(self, start_ms=max(now_ms, self.start_ms), billed=True)

    def repriced(self, price: int) -> Bill:
        """At another price from the next tick on."""
        return replace(self._counted_anew(), price=price)

    def _counted_anew(self) -> Bill:
        return replace(
            self, base_spend=self.spend, base_fee=self.fee, start_ms=self.due_ms, ticks=0
        )

    def paid(self, ticks: int) -> Bill:
        """With `ticks` more ticks paid, and the creation fee if it is due."""
        if not ticks:
            return self
        after = replace(self, ticks=self.ticks + ticks)
        is_due = after.due_ms - TICK_MS >= self.creation_fee_ms
        return replace(after, creation_paid=self.creation_fee) if is_due else after

    def cost(self, ticks: int) -> int:
        """Units that the next `ticks` ticks take from the wallet."""
        after = self.paid(ticks)
        return after.charged - self.charged

    def ticks_due(self, now_ms: int) -> int:
        """How many ticks have begun and are unpaid."""
        if not self.billed:
            return 0
        until = min(now_ms, self.last_ms - 1)
        return max(0, (until - self.start_ms) // TICK_MS + 1 - self.ticks)


def settle(bills: Sequence[Bill], balance: int, now_ms: int) -> tuple[list[Bill], int]:
    """Bill all orders that one wallet pays, up to `now_ms`; the bills and the new balance.

    If the wallet covers everything, which is usual, each order takes one multiplication. If not,
    ticks are paid one by one in the order in which they were due.
    """
    due = {bill.order: bill.ticks_due(now_ms) for bill in bills}
    total = sum(bill.cost(due[bill.order]) for bill in bills)
    if total <= balance:
        return [_expire(bill.paid(due[bill.order]), now_ms) for bill in bills], balance - total
    open_bills = {bill.order: bill for bill in bills}
    done: dict[int, Bill] = {}
    while open_bills:
        bill = min(open_bills.values(), key=lambda b: (b.due_ms, b.order))
        if bill.ticks_due(now_ms) == 0:
            done[bill.order] = _expire(open_bills.pop(bill.order), now_ms)
        elif bill.cost(1) > balance:
            ended = replace(bill, ended_ms=bill.due_ms, reason="no_balance")
            done[open_bills.pop(bill.order).order] = ended
        else:
            balance -= bill.cost(1)
            open_bills[bill.order] = bill.paid(1)
    return [done[bill.order] for bill in bills], balance


def _expire(bill: Bill, now_ms: int) -> Bill:
    if now_ms < bill.last_ms:
        return bill
    return replace(bill, ended_ms=bill.last_ms, reason="max_rental")
