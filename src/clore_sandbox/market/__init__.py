"""The marketplace itself: rules, books, listing and rooms brought together.

Promises: an answer is given after its transaction is in the store. Rooms and the listing follow the
store, never the other way: what boots or ends is decided in a transaction and then carried out.
"""

from __future__ import annotations

import asyncio
import functools
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar, cast

from clore_sandbox import books, rules
from clore_sandbox.alive.crowd import LOOK_MS, STEP_MS
from clore_sandbox.books import hosts, orders, state, turns
from clore_sandbox.books.turns import Effects, Terms
from clore_sandbox.market.after import After, what_follows
from clore_sandbox.market.listing import Listing
from clore_sandbox.market.rooms import Rooms
from clore_sandbox.rules import auction
from clore_sandbox.rules.billing import TICK_MS
from clore_sandbox.store import AlreadyThere

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from clore_sandbox.alive.crowd import Crowd
    from clore_sandbox.books.orders import Delays, Order, Trouble
    from clore_sandbox.fleet.inventory import Inventory
    from clore_sandbox.market.clock import Clock
    from clore_sandbox.market.timetable import Timetable
    from clore_sandbox.provision import Provisioner
    from clore_sandbox.rules.hosting import Hosted
    from clore_sandbox.rules.order_request import OrderAsk
    from clore_sandbox.store import Store, Tx
    from clore_sandbox.values.kinds import JsonObject

__all__ = ["After", "Auction", "Market", "Seen"]

T = TypeVar("T")


@dataclass(frozen=True)
class Seen:
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
    ) -> None:
        self.store = store
        self.clock = clock
        self.timetable = timetable
        self.terms = Terms(delays, auction.fixed_rates(inventory.rates))
        self.listing = Listing()
        self.rates = inventory.rates
        #: Counts up whenever another state has taken the place of this one.
        self.state = 0
        #: As JSON: parsed, those of 3,500 servers take ten times as much memory.
        self._records: dict[int, str] = {}
        self._hosts: dict[int, list[int]] = {}
        self._inventory = inventory
        #: Draws the simulated renters and hosts of a living market.
        self.draw_crowd: Callable[[], Crowd] | None = None
        self._any_jobs = False
        self._jobs = asyncio.Lock()
        self.rooms = Rooms(store, clock, timetable, provisioner, self._host_dies)

    async def open(self) -> None:
        """Read the state, take up the orders that run, and begin to bill."""
        await self.store.run(lambda tx: hosts.fill(tx, self._inventory.records))
        await self.rooms.provisioner.open()
        await self._come_alive()
        await self.reload()
        now = self.clock.now_ms()

        def resume(tx: Tx) -> list[Order]:
            # Nobody pays for the time in which there was no marketplace: ticks go on from here.
            tx.do(
                "UPDATE orders SET start_ms = start_ms + (? - due_ms), due_ms = ?"
                " WHERE billed = 1 AND ended_ms IS NULL AND due_ms < ?",
                now,
                now,
                now,
            )
            return orders.running(tx)

        await self._go_on(await self.store.run(resume))

    async def _go_on(self, running: Iterable[Order]) -> None:
        for order in running:
            await self.rooms.take_up(order, self.record(order.server) or {})
        await self.keep_jobs()
        self._bill_later()

    async def reload(self) -> None:
        """Build the listing from the store."""

        def read(tx: Tx) -> tuple[After, list[int]]:
            servers = [row["id"] for row in tx.all("SELECT id FROM servers ORDER BY position")]
            everything = Effects(servers=set(servers), records=set(servers), hosts=True)
            return self._after(tx, everything), servers

        after, servers = await self.store.run(read)
        self.state += 1
        self._records.clear()
        self.listing.clear()
        self.show(replace(after, shown={server: after.shown[server] for server in servers}))

    def record(self, server: int) -> JsonObject | None:
        """A server's record, to be read only, or None."""
        text = self._records.get(server)
        return None if text is None else _parsed(text)

    def hosted_by(self, account: int) -> list[int]:
        """The numbers of an account's servers."""
        return self._hosts.get(account, [])

    # -- changing it ---------------------------------------------------------------------------

    async def act(
        self, work: Callable[[Tx, Effects], T], *, wait: bool = False, early: bool = False
    ) -> T:
        """Carry out a transaction and what follows from it.

        Work that needs the time reads the clock itself, once it is its turn: what the books say
        came later began later. With the time of the request, one order could begin before the end
        of the one before it, where two workers wait for each other.

        With `wait`, rooms that end have ended and those that boot have their ports on return. With
        `early`, it is carried out before what comes at the same moment.
        """

        def whole(tx: Tx) -> tuple[T, After]:
            effects = Effects()
            return work(tx, effects), self._after(tx, effects)

        value, after = await self.store.run(whole, early=early)
        if not after.nothing:
            await self.follow(after, wait=wait)
        return value

    async def follow(self, after: After, *, wait: bool) -> None:
        """Carry out what follows from a transaction; see `act`."""
        self.show(after)
        following = self.follow_rooms(after)
        if wait and following:
            await asyncio.gather(*following)

    def follow_rooms(self, after: After) -> list[asyncio.Task[None]]:
        """End and boot rooms."""
        rooms = self.rooms.follow(
            after.clear, [(order, self.record(order.server) or {}) for order in after.boot]
        )
        return [*rooms, asyncio.ensure_future(self.keep_jobs())] if self._any_jobs else rooms

    async def keep_jobs(self) -> None:
        """Have hosts' own jobs run where nobody rents, and nowhere else."""
        # One after the other, so that what was read last is what is done last.
        async with self._jobs:
            jobs = await self.store.run(hosts.jobs)
            self._any_jobs = bool(jobs)
            here = [(server, job) for server, job, runs in jobs if runs]
            keeping = self.rooms.keep_jobs(
                {server: (job, self.record(server) or {}) for server, job in here}
            )
            if keeping:
                await asyncio.wait(keeping)

    async def create_order(
        self, account: int, ask: OrderAsk, draw_trouble: Callable[[], Trouble | None]
    ) -> Order | rules.Refusal:
        """Rent or bid, or be refused; `draw_trouble` is asked at most once, from any thread."""
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
                    # The database may ask for the transaction again; the trouble is the same.
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
        # The answer waits until nothing of the order runs: who has it may rely on it.
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
            # Whoever asks for the server at the same moment finds it free.
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
        """Change what a host asks for a server, or be refused; partial: the rest stays."""
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
        """A host goes offline (its rooms with it) or comes back."""
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
        """Somebody outside rents a server, or gives it back."""
        await self.act(
            lambda tx, effects: turns.take(
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
        """Bill what is due, and end what ends over it, rooms included."""
        now = self.clock.now_ms()
        await self.act(lambda tx, effects: turns.settle(tx, now, self.terms, effects), wait=True)
        await self.rooms.quiet()

    async def reset(self, make_account: Callable[[Tx], object]) -> None:
        """Orders, hosts and accounts gone, servers as in the inventory; then `make_account`."""

        def write(tx: Tx) -> None:
            hosts.fill(tx, self._inventory.records)
            make_account(tx)

        await self.replace(write, now_ms=None)

    async def replace(self, write: Callable[[Tx], None], *, now_ms: int | None) -> None:
        """Put another state in place of this one: `write` writes it into empty tables.

        Market time is then `now_ms`, or the world's. What `write` raises leaves all as it was.
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
            await self._go_on(await self.store.run(orders.running))

    # -- reading it ----------------------------------------------------------------------------

    async def orders(self, account: int, *, completed: bool) -> list[Seen]:
        """The account's orders, billed up to now."""
        now = self.clock.now_ms()

        def work(tx: Tx, effects: Effects) -> list[tuple[Order, bool]]:
            turns.settle(tx, now, self.terms, effects, account=account)
            offline = {row["id"] for row in tx.all("SELECT id FROM servers WHERE online = 0")}
            mine = orders.of_account(tx, account, now_ms=now, completed=completed)
            return [(order, order.server not in offline) for order in mine]

        mine = await self.act(work)
        return [Seen(o, self.record(o.server) or {}, online) for o, online in mine]

    async def wallets(self, account: int) -> dict[str, int]:
        """Units per coin, billed and earned up to now."""
        now = self.clock.now_ms()

        def work(tx: Tx, effects: Effects) -> dict[str, int]:
            turns.settle(tx, now, self.terms, effects, account=account)
            return books.wallets(tx, account)

        return await self.act(work)

    async def auction(self, server: int) -> Auction | None:
        """The offers for a server as they stand now; None where there is no such server."""
        now = self.clock.now_ms()

        def work(tx: Tx, effects: Effects) -> Auction | None:
            turns.settle(tx, now, self.terms, effects, server=server)
            row = tx.one("SELECT online, hidden, record FROM servers WHERE id = ?", server)
            if row is None:
                return None
            found = orders.offers(tx, server)
            return Auction(json.loads(row["record"]), bool(row["online"]), not row["hidden"], found)

        return await self.act(work)

    async def hosted(self, account: int) -> list[Hosted]:
        """The account's servers."""
        now = self.clock.now_ms()

        def work(tx: Tx, effects: Effects) -> list[Hosted]:
            turns.settle(tx, now, self.terms, effects, account=account)
            return hosts.of_account(tx, account)

        return await self.act(work)

    # -- what follows --------------------------------------------------------------------------

    def show(self, after: After) -> None:
        """Bring the listing up to the store."""
        for server, (record, visible) in after.shown.items():
            self._records[server] = record
            self.listing.put(json.loads(record))
            self.listing.set_online(server, online=visible)
        for server, rented in after.rented.items():
            self.listing.set_rented(server, rented=rented)
        if after.hosts is not None:
            self._hosts = after.hosts

    def _after(self, tx: Tx, effects: Effects) -> After:
        return what_follows(tx, effects)

    async def _host_dies(self, server: int) -> None:
        await self.set_online(server, online=False)

    async def _come_alive(self) -> None:
        """Let simulated renters and hosts in, if there are to be any."""
        if self.draw_crowd is None:
            return
        crowd = self.draw_crowd()
        begun_ms = self.clock.now_ms()
        await self.store.run(lambda tx: crowd.settle_in(tx, begun_ms))
        self.rooms.simulated |= set(crowd.accounts)
        self._crowd_later(crowd, begun_ms)

    def _crowd_later(self, crowd: Crowd, lived_ms: int) -> None:
        async def live() -> None:
            now = self.clock.now_ms()
            # Of a long time in which nothing could run, the crowd lives through the last day.
            last = max(lived_ms, now - 24 * 12 * STEP_MS)
            while last < now:
                elapsed = min(STEP_MS, now - last)
                last += elapsed
                await self.act(_crowd_step(crowd, last, elapsed, self.terms))
            self._crowd_later(crowd, last)

        # A jump waits for the crowd at each step, so that it meets the market of that time.
        gap = STEP_MS if self.timetable.jumps else LOOK_MS
        self.timetable.at(lived_ms + gap, live, in_a_jump="wait")

    def _bill_later(self) -> None:
        now = self.clock.now_ms()

        async def bill() -> None:
            due = self.clock.now_ms()
            await self.act(lambda tx, effects: turns.settle(tx, due, self.terms, effects))
            self._bill_later()

        # Whoever asks is billed up to the moment anyway; this ends what nobody asks about. However
        # fast the clock runs, 20 times a second of the world is enough.
        pause = max(TICK_MS // 6, round(self.clock.speed * 50))
        self.timetable.at(now + pause, bill, in_a_jump="pass_over")

    async def close(self) -> None:
        """End what runs for the orders; the orders themselves stay in the store."""
        await self.timetable.stop()
        await self.rooms.close()


@functools.lru_cache(maxsize=256)
def _parsed(record: str) -> JsonObject:
    return cast("JsonObject", json.loads(record))


def _crowd_step(
    crowd: Crowd, now_ms: int, elapsed_ms: int, terms: Terms
) -> Callable[[Tx, Effects], None]:
    return lambda tx, effects: crowd.step(tx, now_ms, elapsed_ms, terms, effects)
