"""What the steering of a spot order came to: how long it ran, what it cost and saved. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from clore_ai._values.lengths import duration
from clore_ai.models import price as prices

if TYPE_CHECKING:
    from clore_ai.models import Order

Reason = Literal["ended", "deadline", "stopped", "once", "fallback", "limit"]
_MOST_SHARE = 10
"""After a few seconds the share saved means nothing: the service bills whole minutes."""


@dataclass(frozen=True)
class SpotReport:
    """The result of the steering. Amounts are in `currency`, since the first look.

    `ended`: ``ended`` (the order ended), ``deadline``, ``stopped``, ``once``, ``fallback``; or
    ``limit``: it was cancelled at the end of its lease, or at its cost limit.
    """

    order_id: int
    server_id: int
    currency: str
    ended: Reason
    bid: float | None
    """Coin per **day**, as last seen."""
    usd_per_coin: float | None
    seen_s: float
    held_s: float
    """How long it ran of that time, as far as the looks show."""
    outbids: int
    raised: int
    lowered: int
    spend: float | None
    """According to the service, without fees; None if it is not reported."""
    fees: float | None
    on_demand: float | None
    """The cost of the billed minutes on demand, fees included; None without such a price."""
    order: Order | None = field(repr=False, default=None)
    new_order: Order | None = field(repr=False, default=None)
    """The order of the fallback."""
    moved_from: SpotReport | None = field(repr=False, default=None)
    """The report of the order before, if a fallback's order was steered on."""

    @property
    def held_share(self) -> float | None:
        """The share of the time since the first look; None if there was only one look."""
        return self.held_s / self.seen_s if self.seen_s else None

    @property
    def saved(self) -> float | None:
        """The savings against on demand, fees included, in the coin; None if not known."""
        if self.spend is None or self.fees is None or self.on_demand is None:
            return None
        return self.on_demand - self.spend - self.fees

    @property
    def saved_usd(self) -> float | None:
        """The savings in USD."""
        if self.saved is None or self.usd_per_coin is None:
            return None
        return self.saved * self.usd_per_coin

    def row(self) -> dict[str, Any]:
        """The values as ``clore spot auto --json`` shows them."""
        left_out = ("order", "new_order", "moved_from")
        names = [f.name for f in fields(self) if f.name not in left_out]
        row = {name: getattr(self, name) for name in (*names, "held_share", "saved", "saved_usd")}
        row["new_order_id"] = self.new_order and self.new_order.id
        return row if self.moved_from is None else {**row, "moved_from": self.moved_from.row()}

    def sentences(self) -> list[str]:
        """How long the order ran, what it cost, and what on demand would have cost."""
        before = [] if self.moved_from is None else self.moved_from.sentences()
        share, name = self.held_share, f"Order {self.order_id}"
        if share is None:
            return [*before, f"{name}: first check; savings are counted from now."]
        ran = (
            f"{name} ran {duration(self.held_s)} of {duration(self.seen_s)} ({share:.1%}), outbid "
            f"{_times(self.outbids)}; the bid was raised {_times(self.raised)} and lowered "
            f"{_times(self.lowered)}."
        )
        return [*before, ran, self._cost()]

    def _cost(self) -> str:
        if self.spend is None or self.fees is None:
            return "What it cost is not known."
        text = f"It cost {self._amount(self.spend + self.fees)}, fees included"
        if self.saved is None or not self.on_demand:
            unknown = "; what on demand would have cost is not known" if self.saved is None else ""
            return f"{text}{unknown}."
        less, part = "less" if self.saved >= 0 else "more", abs(self.saved) / self.on_demand
        shown = f" ({part:.0%})" if part < _MOST_SHARE else ""
        return (
            f"{text}: {self._amount(abs(self.saved))}{shown} {less} than on demand for the same "
            f"time, {self._amount(self.on_demand)}."
        )

    def _amount(self, amount: float) -> str:
        """An amount as ``$1.23 (0.00001337 bitcoin)``."""
        usd = None if self.usd_per_coin is None else f"${amount * self.usd_per_coin:.4f}"
        if usd is not None and self.currency == prices.USD:
            return usd
        coin = f"{prices.coin(amount)} {self.currency}"
        return coin if usd is None else f"{usd} ({coin})"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
