"""`Market` carries out each change as one transaction, then updates the rooms and the listing.

Promises: a change is answered after its transaction is in the store. Rooms and the listing follow
the store, never the other way round: a transaction decides what boots and ends, then it happens.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from clore_sandbox import rules
from clore_sandbox.books import hosts, lifecycle, orders, state
from clore_sandbox.books.lifecycle import Effects, Terms
from clore_sandbox.market.follow_up import FollowUp, follow_up
from clore_sandbox.market.recurring import Recurring
from clore_sandbox.market.room_steps import RoomSteps
from clore_sandbox.market.servers import Servers
from clore_sandbox.rules import auction
from clore_sandbox.store import AlreadyThere

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from clore_sandbox.alive.crowd import Crowd
    from clore_sandbox.books.orders import Delays, Order, Trouble
    from clore_sandbox.fleet.inventory import Inventory
    from clore_sandbox.market.clock import Clock
    from clore_sandbox.market.timetable import Timetable
    from clore_sandbox.provision import Provisioner
    from clore_sandbox.rules.order_request import OrderRequest
    from clore_sandbox.store import Store, Tx
    from clore_sandbox.values.json_types import JsonObject

__all__ = ["Market"]

T = TypeVar("T")


class Market:
    """One marketplace; every coroutine runs on its event loop."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        timetable: Timetable,
        *,
        provisioner: Provisioner,
        inventory: Inventory,
        delays: Delays,
        draw_crowd: Callable[[], Crowd] | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.timetable = timetable
        self.terms = Terms(delays, auction.fixed_rates(inventory.rates))
        self.servers = Servers()
        self.rates = inventory.rates
        self.generation = 0
        """Counts how often the whole state was replaced."""
        self._inventory = inventory
        self._draw_crowd = draw_crowd
        self._any_jobs = False
        self._jobs = asyncio.Lock()
        self.rooms = RoomSteps(store, clock, timetable, provisioner, self._host_dies)
        self._recurring = Recurring(clock, timetable, self.terms, self.act)

    async def open(self) -> None:
        """Read the state, resume the running orders, and begin to bill."""
        await self.store.run(lambda tx: hosts.fill(tx, self._inventory.records))
        await self.rooms.provisioner.open()
        await self._come_alive()
        await self.reload()
        now = self.clock.now_ms()

        def running(tx: Tx) -> list[Order]:
            # Nobody pays for the time in which no marketplace ran: billing continues from now.
            tx.do(
                "UPDATE orders SET start_ms = start_ms + (? - due_ms), due_ms = ?"
                " WHERE billed = 1 AND ended_ms IS NULL AND due_ms < ?",
                now,
                now,
                now,
            )
            return orders.running(tx)

        await self._resume(await self.store.run(running))

    async def _resume(self, running: Iterable[Order]) -> None:
        for order in running:
            await self.rooms.reserve(order, self.servers.record(order.server) or {})
        await self.keep_jobs()
        self._recurring.bill_later()

    async def reload(self) -> None:
        """Build the listing from the store."""

        def read(tx: Tx) -> tuple[FollowUp, list[int]]:
            servers = [row["id"] for row in tx.all("SELECT id FROM servers ORDER BY position")]
            everything = Effects(servers=set(servers), records=set(servers), hosts=True)
            return self._follow_up(tx, everything), servers

        follow_up, servers = await self.store.run(read)
        self.generation += 1
        self.servers.clear()
        # In the inventory's order.
        self.show(replace(follow_up, shown={each: follow_up.shown[each] for each in servers}))

    # -- changes -------------------------------------------------------------------------------

    async def act(
        self, work: Callable[[Tx, Effects], T], *, wait: bool = False, early: bool = False
    ) -> T:
        """Carry out a transaction and what follows it.

        Work that needs the time reads the clock inside the transaction, so that times in the books
        have the order of the transactions. With the time of the request instead, two workers that
        wait for each other could record an order that begins before the one before it has ended.

        With `wait`, rooms that end have ended and those that boot have their ports on return. With
        `early`, it runs before other transactions that wait at this moment.
        """

        def whole(tx: Tx) -> tuple[T, FollowUp]:
            effects = Effects()
            return work(tx, effects), self._follow_up(tx, effects)

        value, follow_up = await self.store.run(whole, early=early)
        if not follow_up.nothing:
            await self.follow(follow_up, wait=wait)
        return value

    async def follow(self, follow_up: FollowUp, *, wait: bool) -> None:
        """Carry out what follows a transaction; see `act`."""
        self.show(follow_up)
        following = self.follow_rooms(follow_up)
        if wait and following:
            await asyncio.gather(*following)

    def follow_rooms(self, follow_up: FollowUp) -> list[asyncio.Task[None]]:
        """End and boot rooms."""
        rooms = self.rooms.follow(
            follow_up.clear,
            [(order, self.servers.record(order.server) or {}) for order in follow_up.boot],
        )
        return [*rooms, asyncio.ensure_future(self.keep_jobs())] if self._any_jobs else rooms

    async def keep_jobs(self) -> None:
        """Run hosts' background jobs on servers that nobody rents, and on no others."""
        # One at a time, so that the last state that was read is the last that is applied.
        async with self._jobs:
            jobs = await self.store.run(hosts.jobs)
            self._any_jobs = bool(jobs)
            here = [(server, job) for server, job, runs in jobs if runs]
            keeping = self.rooms.keep_jobs(
                {server: (job, self.servers.record(server) or {}) for server, job in here}
            )
            if keeping:
                await asyncio.wait(keeping)

    async def create_order(
        self, account: int, ask: OrderRequest, draw_trouble: Callable[[], Trouble | None]
    ) -> Order | rules.Refusal:
        """Rent or bid, or be refused; `draw_trouble` is called at most once, from any thread."""
        drawn: list[Trouble | None] = []

        def once() -> Trouble | None:
            if not drawn:
                drawn.append(draw_trouble())
            return drawn[0]

        try:
            return await self.act(
                lambda tx, effects: orders.create(
                    tx,
                    ask,
                    account=account,
                    now_ms=self.clock.now_ms(),
                    terms=self.terms,
                    effects=effects,
                    # The database may repeat the transaction; the trouble stays the same.
                    draw_trouble=once,
                ),
                wait=True,
            )
        except AlreadyThere:
            return rules.Refusal("server-already-rented")

    async def cancel_order(
        self, account: int, order: int, issue: str | None
    ) -> rules.Refusal | None:
        """End an order and everything that runs for it, or be refused."""
        # Answered only when nothing of the order runs any more: callers may rely on that.
        return await self.act(
            lambda tx, effects: orders.cancel(
                tx,
                order,
                account=account,
                issue=issue,
                now_ms=self.clock.now_ms(),
                terms=self.terms,
                effects=effects,
            ),
            wait=True,
            # A request for the server at the same moment finds it free.
            early=True,
        )

    async def set_spot_price(self, account: int, order: int, desired: int) -> rules.Refusal | None:
        """Change a bid, in units per day, or be refused."""
        return await self.act(
            lambda tx, effects: orders.set_price(
                tx,
                order,
                desired,
                account=account,
                now_ms=self.clock.now_ms(),
                terms=self.terms,
                effects=effects,
            ),
            wait=True,
        )

    async def set_server_settings(
        self, account: int, name: str, body: JsonObject, *, partial: bool = False
    ) -> rules.Refusal | None:
        """Change a server's prices and limits, or be refused; partial: omitted settings stay."""
        return await self.act(
            lambda tx, effects: hosts.set_settings(
                tx,
                account,
                name,
                body,
                partial=partial,
                rates=self.rates,
                now_ms=self.clock.now_ms(),
                terms=self.terms,
                effects=effects,
            ),
            wait=True,
        )

    async def set_online(self, server: int, *, online: bool) -> None:
        """Take a host and its rooms offline, or bring it back."""
        await self.act(
            lambda tx, effects: hosts.set_online(
                tx,
                server,
                online=online,
                now_ms=self.clock.now_ms(),
                terms=self.terms,
                effects=effects,
            ),
            wait=True,
        )

    async def set_rented(self, server: int, *, rented: bool) -> None:
        """Let a renter outside the marketplace take a server, or give it back."""
        await self.act(
            lambda tx, effects: lifecycle.take(
                tx,
                server,
                taken=rented,
                now_ms=self.clock.now_ms(),
                terms=self.terms,
                effects=effects,
            ),
            wait=True,
        )

    async def settle(self) -> None:
        """Bill all that is due; end the orders that cannot pay, and their rooms."""
        now = self.clock.now_ms()
        await self.act(
            lambda tx, effects: lifecycle.settle(tx, now, self.terms, effects), wait=True
        )
        await self.rooms.quiet()

    async def reset(self, make_account: Callable[[Tx], object]) -> None:
        """Remove orders, hosts and accounts, restore the inventory; then call `make_account`."""

        def write(tx: Tx) -> None:
            hosts.fill(tx, self._inventory.records)
            make_account(tx)

        await self.replace(write, now_ms=None)

    async def replace(self, write: Callable[[Tx], None], *, now_ms: int | None) -> None:
        """Replace the whole state: `write` fills the emptied tables.

        Market time is then `now_ms`, or the real time if it is None. If `write` raises, nothing
        changes.
        """

        def work(tx: Tx) -> list[int]:
            gone = state.empty(tx)
            write(tx)
            return gone

        async with self.timetable.held():
            gone = await self.store.run(work)
            self.timetable.clear()
            self.rooms.simulated.clear()
            await asyncio.gather(*self.rooms.follow(gone, []))
            self.clock.set_to(now_ms)
            await self._come_alive()
            await self.reload()
            await self._resume(await self.store.run(orders.running))

    # -- after a transaction -------------------------------------------------------------------

    def show(self, follow_up: FollowUp) -> None:
        """Bring the shown servers up to date."""
        self.servers.show(follow_up)

    def _follow_up(self, tx: Tx, effects: Effects) -> FollowUp:
        return follow_up(tx, effects)

    async def _host_dies(self, server: int) -> None:
        await self.set_online(server, online=False)

    async def _come_alive(self) -> None:
        """Let simulated renters and hosts into a living market."""
        if self._draw_crowd is None:
            return
        crowd = self._draw_crowd()
        begun_ms = self.clock.now_ms()
        await self.store.run(lambda tx: crowd.settle_in(tx, begun_ms))
        self.rooms.simulated |= set(crowd.accounts)
        self._recurring.live_later(crowd, begun_ms)

    async def close(self) -> None:
        """End what runs for the orders; the orders themselves stay in the store."""
        await self.timetable.stop()
        await self.rooms.close()
