"""Has an order ended that `my_orders` does not list? One answer without it proves nothing. Pure.

An order is gone if the service lists it as ended, or if two looks 20 s apart omit it while they
list the other known orders. A look proves nothing about the orders it omits if it is empty
although the ledger has running orders, omits several at once, or has rows that could not be read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from clore_ai.models import Order
    from clore_ai.models.records import Intent

AGAIN_S = 20.0
"""The least time between the two looks."""
LISTED_WITHIN_S = 30.0
"""How long a new order may be missing from the list (service.md, 3: 20 s)."""

Presence = Literal["running", "unknown", "gone"]


@dataclass
class Listings:
    """What the looks at the whole list, ended orders included, show of each order."""

    missing: dict[int, float] = field(default_factory=dict[int, float])
    """Since when an order is not listed, in unix seconds, by looks that count."""
    _known: set[int] = field(default_factory=set[int])
    """Orders that were running when last seen."""
    _listed: dict[int, bool] = field(default_factory=dict[int, bool])
    """Did the order run at the last look?"""
    _gone: set[int] = field(default_factory=set[int])
    _fed: bool = False
    _young: set[int] = field(default_factory=set[int])
    _counted_at: float | None = None
    """The last look that counts for orders that were unknown before."""

    def feed(
        self, rows: Sequence[Order], running: Iterable[Intent], now: float, *, whole: bool = True
    ) -> None:
        """Record one look.

        Args:
            rows: all orders.
            running: the running orders of the ledger as it is now: other processes look, too.
            now: unix seconds by the service's clock.
            whole: could all rows be read?
        """
        self._fed, self._young = True, set()
        kept: set[int] = set()
        for intent in running:
            order_id = intent.order_id or 0
            kept.add(order_id)
            self.missing.pop(order_id, None)
            if intent.missing_at is not None:
                self.missing[order_id] = intent.missing_at
            if now - (intent.posted_at or intent.opened_at) < LISTED_WITHIN_S:
                self._young.add(order_id)
        self._known |= kept
        self._listed = {order.id: order.active for order in rows}
        for order_id, active in self._listed.items():
            self.missing.pop(order_id, None)
            self._gone.discard(order_id)
            (self._known.add if active else self._known.discard)(order_id)
        absent = self._known - self._listed.keys() - self._young
        several = len(absent - self.missing.keys()) > 1
        self._counted_at = None
        if not whole or several or (kept and not rows):
            return
        self._counted_at = now
        for order_id in absent:
            if now - self.missing.setdefault(order_id, now) >= AGAIN_S:
                self._gone.add(order_id)
                self._known.discard(order_id)

    def unlisted(self, order_ids: Iterable[int]) -> list[int]:
        """The orders that the last look omits; none before the first look."""
        unknown = (i for i in order_ids if i not in self._young and self.of(i) == "unknown")
        return sorted(unknown) if self._fed else []

    def of(self, order_id: int) -> Presence:
        """The state of an order by the last look. An unknown order becomes known."""
        if order_id in self._listed:
            return "running" if self._listed[order_id] else "gone"
        if order_id in self._gone:
            return "gone"
        if order_id not in self._known:
            self._known.add(order_id)
            if self._counted_at is not None:
                self.missing.setdefault(order_id, self._counted_at)
        return "unknown"
