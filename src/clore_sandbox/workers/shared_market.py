"""The `Market` of a marketplace in several processes: the keeper's and the workers'.

Every process carries out transactions; the keeper alone follows them up. It ends and boots the
rooms, and sends the changes to all workers. Transactions may arrive there out of order, so each
carries its moment in the store: of two that touch the same server or order, the later one counts.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from clore_sandbox.books import orders
from clore_sandbox.market import Market
from clore_sandbox.workers.messages import Follow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from clore_sandbox.books.lifecycle import Effects
    from clore_sandbox.books.orders import Order
    from clore_sandbox.market.follow_up import FollowUp
    from clore_sandbox.store import Tx
    from clore_sandbox.workers.link import Link

__all__ = ["KeptMarket", "SharedMarket", "WorkersMarket"]

_MOMENT = "SELECT txid_current()"
"""PostgreSQL's number of the transaction, higher for later ones: only one at a time writes."""
_REMEMBERED = 100_000


class SharedMarket(Market):
    """Numbers its transactions, and ignores changes that arrive late."""

    _moment: tuple[Tx, int] | None = None
    """The last transaction and its number."""

    @cached_property
    def _latest(self) -> dict[tuple[str, int], int]:
        """When each server and order was last changed."""
        return {}

    def _follow_up(self, tx: Tx, effects: Effects) -> FollowUp:
        follow_up = super()._follow_up(tx, effects)
        if follow_up.nothing:
            return follow_up
        if self._moment is None or self._moment[0] is not tx:
            self._moment = tx, tx.number(_MOMENT)
        return replace(follow_up, moment=self._moment[1])

    def _late(self, follow_up: FollowUp, kind: str, number: int = 0) -> bool:
        return self._latest.get((kind, number), 0) > follow_up.moment

    def news(self, follow_up: FollowUp) -> FollowUp:
        """The part that no later change supersedes."""
        return replace(
            follow_up,
            clear=[order for order in follow_up.clear if not self._late(follow_up, "order", order)],
            boot=[
                order for order in follow_up.boot if not self._late(follow_up, "order", order.id)
            ],
            rented={
                s: to
                for s, to in follow_up.rented.items()
                if not self._late(follow_up, "rented", s)
            },
            shown={
                s: to for s, to in follow_up.shown.items() if not self._late(follow_up, "shown", s)
            },
            hosts=None if self._late(follow_up, "hosts") else follow_up.hosts,
        )

    def show(self, follow_up: FollowUp) -> None:
        """Apply changes, and remember their moment."""
        super().show(follow_up)
        touched = [("rented", server) for server in follow_up.rented]
        touched += [("shown", server) for server in follow_up.shown]
        touched += [("order", order) for order in follow_up.clear]
        touched += [("order", order.id) for order in follow_up.boot]
        touched += [("hosts", 0)] if follow_up.hosts is not None else []
        self._latest.update(dict.fromkeys(touched, follow_up.moment))
        if len(self._latest) > _REMEMBERED:
            # No change is ever so late that it needs the older half.
            kept = sorted(self._latest.items(), key=lambda item: item[1])[_REMEMBERED // 2 :]
            self._latest.clear()
            self._latest.update(kept)


class WorkersMarket(SharedMarket):
    """A worker's market: it changes the store, and the keeper follows up."""

    link: Link

    async def open(self) -> None:
        """Read the store."""
        await self.reload()

    async def follow(self, follow_up: FollowUp, *, wait: bool) -> None:
        """Let the keeper follow up; on return all processes show the change."""
        await self.link.ask(Follow(follow_up, wait))


class KeptMarket(SharedMarket):
    """The keeper's market. `publish` and `republish` send to the workers."""

    publish: Callable[[list[FollowUp]], Iterable[asyncio.Future[object]]]
    republish: Callable[[], Iterable[asyncio.Future[object]]]
    _publishing: asyncio.Task[None]

    async def follow(self, follow_up: FollowUp, *, wait: bool) -> None:
        """Apply the change here, in every worker, and to the rooms."""
        follow_up = self.news(follow_up)
        self.show(follow_up)
        # The keeper alone runs the rooms.
        shown = replace(follow_up, clear=[], boot=[])
        publishing = [] if shown.nothing else [self._published(shown)]
        rooms = self.follow_rooms(follow_up)
        if publishing:
            await asyncio.wait(publishing)
        if wait and rooms:
            await asyncio.wait(rooms)

    @cached_property
    def _unpublished(self) -> list[FollowUp]:
        return []

    def _published(self, change: FollowUp) -> asyncio.Task[None]:
        """Done once every worker shows the change; those of one turn are sent together."""
        self._unpublished.append(change)
        if len(self._unpublished) == 1:
            self._publishing = asyncio.ensure_future(self._publish())
        return self._publishing

    async def _publish(self) -> None:
        changes = self._unpublished.copy()
        self._unpublished.clear()
        showing = list(self.publish(changes))
        if showing:
            await asyncio.wait(showing)

    async def reload(self) -> None:
        """Build the listing from the store, here and in every worker."""
        await super().reload()
        reloading = list(self.republish())
        if reloading:
            await asyncio.wait(reloading)

    async def recover(self) -> None:
        """Follow up what a worker left undone that died between a transaction and its follow-up."""
        rooms = self.rooms
        running: dict[int, Order] = {o.id: o for o in await self.store.run(orders.running)}
        missing = [
            (order, self.servers.record(order.server) or {})
            for order in running.values()
            if order.id not in rooms.reserved
        ]
        rooms.follow([order for order in rooms.reserved if order not in running], missing)
        await self.reload()
