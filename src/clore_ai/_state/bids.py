"""The bids that this machine knows of, and when each was lowered (service.md, 1: once in 600 s).

In memory, or in a file that all processes of a marketplace share. It may do no network I/O.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clore_ai._state.kept import File, Kept, Memory
from clore_ai._values.kinds import as_dict

if TYPE_CHECKING:
    from pathlib import Path

LOWERING_S = 600.0


def lowering_every_s(requests_per_second: float) -> float:
    """600 s at the service's pace; who may ask faster has a marketplace with a time of its own."""
    return LOWERING_S if requests_per_second <= 1 else 0.0


@dataclass
class Bid:
    """`above`: what is below it lowers the bid. `lowered_at`: on the clock that never jumps."""

    above: float = 0.0
    lowered_at: float = -math.inf


@dataclass
class Bids:
    """By order. `every_s`: how often the service lets a bid be lowered; 0: this is not watched."""

    shared: Path | None = None
    """A file for all processes of this machine that use one marketplace."""
    every_s: float = LOWERING_S
    _kept: Kept[dict[int, Bid]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._kept = File(self.shared, _load, _dump) if self.shared else Memory({})

    def wait_s(self, order_id: int, price: float, now: float) -> float:
        """Seconds until the service takes this bid, as far as is known here; 0: it may now."""
        with self._kept.open() as bids:
            bid = bids.get(order_id, Bid())
        # A time still to come is from before the machine was started anew.
        if price >= bid.above or bid.lowered_at > now:
            return 0.0
        return max(0.0, bid.lowered_at + self.every_s - now)

    def accepted(self, order_id: int, price: float, now: float) -> None:
        """The service took this bid."""
        with self._kept.open() as bids:
            bid = bids.setdefault(order_id, Bid())
            if price < bid.above:
                bid.lowered_at = now
            bid.above = price

    def refused(self, order_id: int, price: float, wait_s: float, now: float) -> None:
        """The service won't take this lower bid for `wait_s` more."""
        with self._kept.open() as bids:
            bid = bids.setdefault(order_id, Bid())
            bid.above = max(bid.above, math.nextafter(price, math.inf))
            bid.lowered_at = now + wait_s - self.every_s

    def unknown(self, order_id: int) -> None:
        """The answer was lost: what the bid is now, nobody knows."""
        with self._kept.open() as bids:
            bids.pop(order_id, None)


def _load(data: object) -> dict[int, Bid]:
    """What `_dump` made; of what is damaged nothing is believed, and the service asked."""
    try:
        pairs = (as_dict(data) or {}).items()
        return {int(key): Bid(float(above), float(at)) for key, (above, at) in pairs}
    except (TypeError, ValueError, OverflowError):
        return {}


def _dump(bids: dict[int, Bid]) -> dict[str, list[float]]:
    return {str(order_id): [bid.above, bid.lowered_at] for order_id, bid in bids.items()}
