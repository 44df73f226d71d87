"""What accounts read of a market: orders, wallets, auctions, hosted servers; billed up to now."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clore_sandbox import books
from clore_sandbox.books import hosts, lifecycle
from clore_sandbox.books import orders as order_books

if TYPE_CHECKING:
    from clore_sandbox.books.lifecycle import Effects
    from clore_sandbox.books.orders import Order
    from clore_sandbox.market import Market
    from clore_sandbox.rules.hosting import Hosted
    from clore_sandbox.store import Tx
    from clore_sandbox.values.json_types import JsonObject

__all__ = ["Auction", "SeenOrder", "auction", "hosted", "orders", "wallets"]


@dataclass(frozen=True)
class SeenOrder:
    """An order as its renter may see it now, with its server."""

    order: Order
    record: JsonObject
    online: bool


@dataclass(frozen=True)
class Auction:
    """What `spot_marketplace` shows of a server."""

    record: JsonObject
    online: bool
    available: bool
    offers: list[Order]


async def orders(market: Market, account: int, *, completed: bool) -> list[SeenOrder]:
    """The account's orders."""
    now = market.clock.now_ms()

    def work(tx: Tx, effects: Effects) -> list[tuple[Order, bool]]:
        lifecycle.settle(tx, now, market.terms, effects, account=account)
        offline = {row["id"] for row in tx.all("SELECT id FROM servers WHERE online = 0")}
        found = order_books.of_account(tx, account, now_ms=now, completed=completed)
        return [(order, order.server not in offline) for order in found]

    found = await market.act(work)
    return [SeenOrder(o, market.servers.record(o.server) or {}, online) for o, online in found]


async def wallets(market: Market, account: int) -> dict[str, int]:
    """Units per coin, spent and earned up to now."""
    now = market.clock.now_ms()

    def work(tx: Tx, effects: Effects) -> dict[str, int]:
        lifecycle.settle(tx, now, market.terms, effects, account=account)
        return books.wallets(tx, account)

    return await market.act(work)


async def auction(market: Market, server: int) -> Auction | None:
    """The offers for a server as they stand now; None if there is no such server."""
    now = market.clock.now_ms()

    def work(tx: Tx, effects: Effects) -> Auction | None:
        lifecycle.settle(tx, now, market.terms, effects, server=server)
        row = tx.one("SELECT online, hidden, record FROM servers WHERE id = ?", server)
        if row is None:
            return None
        found = order_books.offers(tx, server)
        return Auction(json.loads(row["record"]), bool(row["online"]), not row["hidden"], found)

    return await market.act(work)


async def hosted(market: Market, account: int) -> list[Hosted]:
    """The account's servers."""
    now = market.clock.now_ms()

    def work(tx: Tx, effects: Effects) -> list[Hosted]:
        lifecycle.settle(tx, now, market.terms, effects, account=account)
        return hosts.of_account(tx, account)

    return await market.act(work)
