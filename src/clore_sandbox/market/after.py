"""What is to follow a transaction outside of the store: rooms, the listing, hosts' own lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clore_sandbox.books.orders import Order

if TYPE_CHECKING:
    from clore_sandbox.books.turns import Effects
    from clore_sandbox.store import Tx

__all__ = ["After", "what_follows"]


@dataclass(frozen=True)
class After:
    """What is to follow a transaction, as it left the store.

    `shown` holds servers' records, as JSON, and whether they are on offer. `moment` orders
    transactions of several processes; a single one does without.
    """

    clear: list[int]
    boot: list[Order]
    rented: dict[int, bool]
    shown: dict[int, tuple[str, bool]]
    hosts: dict[int, list[int]] | None
    moment: int = 0

    @property
    def nothing(self) -> bool:
        """Whether all stays as it is."""
        rest = self.rented or self.shown or self.hosts is not None
        return not (self.clear or self.boot or rest)


def what_follows(tx: Tx, effects: Effects) -> After:
    """What follows from the effects, as the store has it at the end of the transaction."""
    boot: list[Order] = []
    rented: dict[int, bool] = {}
    shown: dict[int, tuple[str, bool]] = {}
    for number in sorted(order for order, boots in effects.boots.items() if boots):
        row = tx.one(_BOOTING, number)
        if row is not None:
            rented[row["server"]] = bool(row["rented"])
            if row["running"] and row["online"]:
                boot.append(Order.from_row(row))
    for server in effects.servers - rented.keys():
        row = tx.one(_SEEN, server)
        rented[server] = row is not None and bool(row["rented"])
    for server in effects.records:
        row = tx.one("SELECT online, hidden, record FROM servers WHERE id = ?", server)
        if row is not None:
            shown[server] = row["record"], bool(row["online"] and not row["hidden"])
    hosts: dict[int, list[int]] | None = None
    if effects.hosts:
        hosts = {}
        for row in tx.all("SELECT account, server FROM hosted ORDER BY position"):
            if row["server"] is not None:
                hosts.setdefault(row["account"], []).append(row["server"])
    return After(
        clear=[order for order, boots in effects.boots.items() if not boots],
        boot=boot,
        rented=rented,
        shown=shown,
        hosts=hosts,
    )


#: Whether a server is rented, as `marketplace` shows it: on demand. A server on which a spot order
#: runs can still be rented on demand (service.md section 5), so it is on offer.
_RENTED = (
    "taken = 1 OR EXISTS (SELECT 1 FROM orders WHERE server = servers.id"
    " AND running = 1 AND type = 'on-demand') AS rented"
)
_SEEN = f"SELECT {_RENTED} FROM servers WHERE id = ?"  # noqa: S608 - no values
_BOOTING = (
    f"SELECT orders.*, online, {_RENTED} FROM orders"  # noqa: S608 - no values
    " JOIN servers ON servers.id = orders.server WHERE orders.id = ?"
)
