"""What follows a transaction outside the store: rooms end and boot, the listing changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clore_sandbox.books.orders import Order

if TYPE_CHECKING:
    from clore_sandbox.books.lifecycle import Effects
    from clore_sandbox.store import Tx

__all__ = ["FollowUp", "follow_up"]


@dataclass(frozen=True)
class FollowUp:
    """What follows one transaction, from the store as it left it."""

    clear: list[int]
    """Orders whose rooms end."""
    boot: list[Order]
    """Orders whose rooms boot."""
    rented: dict[int, bool]
    """Servers that are now shown as rented, or as free."""
    shown: dict[int, tuple[str, bool]]
    """Servers' new records, as JSON, and whether they are listed."""
    hosts: dict[int, list[int]] | None
    """Every account's servers, if they changed."""
    moment: int = 0
    """Orders the transactions of several processes; one process needs no such number."""

    @property
    def nothing(self) -> bool:
        """Whether nothing changes."""
        rest = self.rented or self.shown or self.hosts is not None
        return not (self.clear or self.boot or rest)


def follow_up(tx: Tx, effects: Effects) -> FollowUp:
    """What follows from these effects, read at the end of their transaction."""
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
    return FollowUp(
        clear=[order for order, boots in effects.boots.items() if not boots],
        boot=boot,
        rented=rented,
        shown=shown,
        hosts=hosts,
    )


_RENTED = (
    "taken = 1 OR EXISTS (SELECT 1 FROM orders WHERE server = servers.id"
    " AND running = 1 AND type = 'on-demand') AS rented"
)
"""Whether `marketplace` shows a server as rented. A spot order alone does not count: the server can
still be rented on demand (service.md section 5)."""
_SEEN = f"SELECT {_RENTED} FROM servers WHERE id = ?"  # noqa: S608 - no values
_BOOTING = (
    f"SELECT orders.*, online, {_RENTED} FROM orders"  # noqa: S608 - no values
    " JOIN servers ON servers.id = orders.server WHERE orders.id = ?"
)
