"""Records of spot orders on this machine: bids, when each was lowered, and the autopilot's state.

The service lets a bid be lowered once in 600 s (service.md, 1). May do no network I/O.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from clore_ai._state.sqlite.rows import DamagedError
from clore_ai._state.store import Store, transaction
from clore_ai._values.kinds import as_dict

if TYPE_CHECKING:
    import sqlite3

LOWERING_S = 600.0
_NEVER = -math.inf


def lowering_every_s(requests_per_second: float) -> float:
    """600 s at the service's pace; a faster pace means a marketplace whose time runs faster."""
    return LOWERING_S if requests_per_second <= 1 else 0.0


class Bids:
    """The bids of the marketplace `place`, by order. Times are of this machine's monotonic clock.

    `every_s`: the shortest time between two lowerings of a bid; 0: no limit.
    """

    def __init__(
        self, store: Store | None = None, place: str = "", every_s: float = LOWERING_S
    ) -> None:
        self.store = store or Store()
        self.place, self.every_s = place, every_s

    @transaction
    def wait_s(self, db: sqlite3.Connection, order_id: int, price: float, now: float) -> float:
        """Seconds until the service accepts this bid, as far as is known; 0: now."""
        above, lowered = self._bid(db, order_id)
        # A time in the future is from before a reboot.
        if price >= above or lowered > now:
            return 0.0
        return max(0.0, lowered + self.every_s - now)

    @transaction
    def accepted(self, db: sqlite3.Connection, order_id: int, price: float, now: float) -> None:
        """Record that the service accepted this bid."""
        above, lowered = self._bid(db, order_id)
        self._set(db, order_id, above=price, lowered=now if price < above else lowered)

    @transaction
    def refused(
        self, db: sqlite3.Connection, order_id: int, price: float, wait_s: float, now: float
    ) -> None:
        """Record that the service accepts this lower bid only after `wait_s`."""
        above, _ = self._bid(db, order_id)
        above = max(above, math.nextafter(price, math.inf))
        self._set(db, order_id, above=above, lowered=now + wait_s - self.every_s)

    @transaction
    def unknown(self, db: sqlite3.Connection, order_id: int) -> None:
        """Record that the answer was lost and the bid is unknown."""
        self._set(db, order_id, above=0.0, lowered=_NEVER)

    @transaction
    def pilot(self, db: sqlite3.Connection, order_id: int) -> dict[str, Any]:
        """The state that an earlier command kept of an order it steered; empty if none."""
        row = self._row(db, order_id)
        try:
            return as_dict(json.loads(row["pilot"] if row else "null")) or {}
        except (TypeError, ValueError, RecursionError):
            return {}

    @transaction
    def keep_pilot(self, db: sqlite3.Connection, order_id: int, known: dict[str, Any]) -> None:
        """Keep that state for the next command; an empty `known` removes it."""
        self._set(db, order_id, pilot=json.dumps(known) if known else None)

    def _row(self, db: sqlite3.Connection, order_id: int) -> sqlite3.Row | None:
        row: sqlite3.Row | None = db.execute(
            "SELECT above, lowered, pilot FROM bids WHERE (place, machine, order_id) = (?, ?, ?)",
            (self.place, self.store.machine, order_id),
        ).fetchone()
        return row

    def _bid(self, db: sqlite3.Connection, order_id: int) -> tuple[float, float]:
        """The known bid, below which a new one lowers it, and when it was lowered."""
        row = self._row(db, order_id)
        above, lowered = (0.0, None) if row is None else (row["above"], row["lowered"])
        for value in (above, lowered):
            if not isinstance(value, (float, type(None))) or value == math.inf:
                raise DamagedError("a row's bid is not a number")
        return above, _NEVER if lowered is None else lowered

    def _set(self, db: sqlite3.Connection, order_id: int, **values: object) -> None:
        at = (self.place, self.store.machine, order_id)
        db.execute("INSERT OR IGNORE INTO bids (place, machine, order_id) VALUES (?, ?, ?)", at)
        for name, value in values.items():
            db.execute(
                f"UPDATE bids SET {name} = ? WHERE (place, machine, order_id) = (?, ?, ?)",  # noqa: S608 - our own names
                (None if value == _NEVER else value, *at),
            )
