"""The marketplace itself: rules, books, listing and rooms brought together.

Promises: an answer is given after its transaction is in the store. Rooms and the listing follow the
store, never the other way: what boots or ends is decided in a transaction and then carried out.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional, Union

from clore_sandbox import books, orders, rules
from clore_sandbox.billing import TICK_MS
from clore_sandbox.inventory import gpu_names
from clore_sandbox.listing import Listing
from clore_sandbox.provision import Gpus, RoomPlan
from clore_sandbox.values import as_list, as_number, as_object, as_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from clore_sandbox.ask import OrderAsk
    from clore_sandbox.books import Ended
    from clore_sandbox.clock import Clock
    from clore_sandbox.inventory import Inventory
    from clore_sandbox.orders import Delays, Order, Trouble
    from clore_sandbox.provision import Provisioner
    from clore_sandbox.store import Store, Tx
    from clore_sandbox.timetable import Timetable
    from clore_sandbox.values import JsonObject

__all__ = ["Market", "Seen"]

log = logging.getLogger("clore_sandbox")


@dataclass(frozen=True)
class Seen:
    """An order as its renter may see it now, with its server."""

    order: Order
    record: JsonObject
    online: bool


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
        self.provisioner = provisioner
        self.delays = delays
        self.listing = Listing()
        self.rates = inventory.rates
        self._records: dict[int, JsonObject] = {}
        self._inventory = inventory
        self._rooms: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Read the state, take up the orders that run, and begin to bill."""
        await self.store.run(lambda tx: _fill(tx, self._inventory.records))
        await self.provisioner.open()
        await self.reload()
        now = self.clock.now_ms()

        def resume(tx: Tx) -> list[Order]:
            # Nobody pays for the time in which there was no marketplace: ticks go on from here.
            tx.do(
                "UPDATE orders SET start_ms = start_ms + (? - due_ms), due_ms = ?"
                " WHERE running = 1 AND due_ms < ?",
                now,
                now,
                now,
            )
            return orders.running(tx)

        for order in await self.store.run(resume):
            await self._take_up(order)
        self._bill_later()

    async def reload(self) -> None:
        """Build the listing from the store."""

        def read(tx: Tx) -> list[tuple[int, JsonObject, bool, bool]]:
            rows = tx.all(
                "SELECT id, record, online, taken, EXISTS (SELECT 1 FROM orders WHERE"
                " server = servers.id AND running = 1) AS busy FROM servers ORDER BY position"
            )
            return [
                (r["id"], json.loads(r["record"]), bool(r["online"]), bool(r["taken"] or r["busy"]))
                for r in rows
            ]

        rows = await self.store.run(read)
        self._records = {server: record for server, record, _, _ in rows}
        self.listing.replace(self._records.values())
        for server, _, online, rented in rows:
            self.listing.set_rented(server, rented=rented)
            self.listing.set_online(server, online=online)

    def record(self, server: int) -> Optional[JsonObject]:
        """A server's record, or None."""
        return self._records.get(server)

    async def create_order(
        self, account: int, ask: OrderAsk, trouble: Optional[Trouble]
    ) -> Union[Order, rules.Refusal]:
        """Rent, or be refused."""
        now = self.clock.now_ms()

        def work(tx: Tx) -> tuple[list[Ended], Union[orders.Created, rules.Refusal]]:
            ended = books.settle_due(tx, now)
            return ended, orders.create(
                tx,
                ask,
                account=account,
                record=self._records.get(ask.server),
                now_ms=now,
                delays=self.delays,
                trouble=trouble,
            )

        ended, outcome = await self.store.run(work)
        self._leave(ended)
        if isinstance(outcome, rules.Refusal):
            return outcome
        self.listing.set_rented(ask.server, rented=True)
        await self._take_up(outcome.order)
        return outcome.order

    async def cancel_order(
        self, account: int, order: int, issue: Optional[str]
    ) -> Optional[rules.Refusal]:
        """End an order and everything that runs for it, or be refused."""
        now = self.clock.now_ms()

        def work(tx: Tx) -> tuple[list[Ended], Union[Ended, rules.Refusal]]:
            ended = books.settle_due(tx, now)
            return ended, orders.cancel(tx, order, account=account, issue=issue, now_ms=now)

        ended, outcome = await self.store.run(work)
        self._leave(ended)
        if isinstance(outcome, rules.Refusal):
            return outcome
        self.listing.set_rented(outcome.server, rented=False)
        # The answer waits until nothing of the order runs: who has it may rely on it.
        await self.provisioner.clear(order)
        return None

    async def orders(self, account: int, *, completed: bool) -> list[Seen]:
        """The account's orders, billed up to now."""
        now = self.clock.now_ms()

        def work(tx: Tx) -> tuple[list[Ended], list[tuple[Order, bool]]]:
            ended = books.settle_due(tx, now)
            offline = {row["id"] for row in tx.all("SELECT id FROM servers WHERE online = 0")}
            mine = orders.of_account(tx, account, now_ms=now, completed=completed)
            return ended, [(order, order.server not in offline) for order in mine]

        ended, mine = await self.store.run(work)
        self._leave(ended)
        return [Seen(o, self._records.get(o.server, {}), online) for o, online in mine]

    async def wallets(self, account: int) -> dict[str, int]:
        """Units per coin, billed up to now."""
        now = self.clock.now_ms()
        ended, units = await self.store.run(
            lambda tx: (books.settle_due(tx, now), books.wallets(tx, account))
        )
        self._leave(ended)
        return units

    async def set_online(self, server: int, *, online: bool) -> None:
        """A host goes offline (its rooms with it) or comes back."""

        def work(tx: Tx) -> list[Order]:
            tx.do("UPDATE servers SET online = ? WHERE id = ?", int(online), server)
            return [order for order in orders.running(tx) if order.server == server]

        there = await self.store.run(work)
        self.listing.set_online(server, online=online)
        for order in there:
            if online:
                await self._take_up(order)
            else:
                await self.provisioner.clear(order.id)

    async def set_rented(self, server: int, *, rented: bool) -> None:
        """Somebody outside rents a server, or gives it back."""

        def work(tx: Tx) -> bool:
            tx.do("UPDATE servers SET taken = ? WHERE id = ?", int(rented), server)
            sql = "SELECT COUNT(*) FROM orders WHERE server = ? AND running = 1"
            return rented or tx.number(sql, server) > 0

        self.listing.set_rented(server, rented=await self.store.run(work))

    async def settle(self) -> None:
        """Bill what is due, and end what ends over it, rooms included."""
        now = self.clock.now_ms()
        self._leave(await self.store.run(lambda tx: books.settle_due(tx, now)))
        await asyncio.gather(*self._rooms, return_exceptions=True)

    async def reset(self, api_key: str, balances: Mapping[str, int]) -> None:
        """Orders and further accounts gone, servers as in the inventory, the wallet as given."""
        self.timetable.clear()

        def work(tx: Tx) -> list[int]:
            gone = [row["id"] for row in tx.all("SELECT id FROM orders")]
            for table in ("orders", "servers", "wallets", "accounts"):
                tx.do(f"DELETE FROM {table}")  # noqa: S608 - the names above
            books.create_account(tx, api_key, balances)
            _fill(tx, self._inventory.records)
            return gone

        gone = await self.store.run(work)
        await asyncio.gather(*(self.provisioner.clear(order) for order in gone))
        await self.reload()
        self._bill_later()

    def _leave(self, ended: Iterable[Ended]) -> None:
        for end in ended:
            self.listing.set_rented(end.server, rented=False)
            self._later(end.order)

    def _later(self, order: int) -> None:
        task = asyncio.ensure_future(self.provisioner.clear(order))
        self._rooms.add(task)
        task.add_done_callback(self._rooms.discard)

    async def _take_up(self, order: Order) -> None:
        """Hold an order's ports and have it boot when its time comes."""
        trouble = order.trouble.kind if order.trouble else None
        plan = _plan(order, self._records.get(order.server, {}), trouble)
        try:
            ports = await self.provisioner.reserve(plan)
        except OSError:
            # The order stands, as on the service, where some never become reachable.
            log.exception("no ports for order %d", order.id)
            return
        where = orders.Connection(ports.host, dict(ports.tcp), ports.http)
        if plan.ports:
            await self.store.run(lambda tx: orders.connect(tx, order.id, where))
        if trouble != "never_boots":
            self.timetable.at(order.booted_ms, lambda: self.provisioner.boot(order.id))
        if order.trouble is not None and trouble == "host_dies":
            dies_ms = order.booted_ms + round(order.trouble.delay_s * 1000)
            if dies_ms <= self.clock.now_ms():  # it has died before, and is back
                return
            self.timetable.at(dies_ms, lambda: self.set_online(order.server, online=False))

    def _bill_later(self) -> None:
        now = self.clock.now_ms()

        async def bill() -> None:
            self._leave(await self.store.run(lambda tx: books.settle_due(tx, self.clock.now_ms())))
            self._bill_later()

        # Whoever asks is billed up to the moment anyway; this ends what nobody asks about.
        self.timetable.at(now + TICK_MS // 6, bill)

    async def close(self) -> None:
        """End what runs for the orders; the orders themselves stay in the store."""
        await self.timetable.stop()
        await asyncio.gather(*self._rooms, return_exceptions=True)
        await self.provisioner.close()


def _fill(tx: Tx, records: Iterable[Mapping[str, object]]) -> None:
    if tx.number("SELECT COUNT(*) FROM servers"):
        return
    for position, record in enumerate(records):
        server, owner = record["id"], record.get("owner")
        assert isinstance(server, int)  # noqa: S101 - inventory.py let nothing else in
        tx.do(
            "INSERT INTO servers (id, position, owner, online, taken, record)"
            " VALUES (?, ?, ?, 1, ?, ?)",
            server,
            position,
            owner if isinstance(owner, int) else 0,
            int(bool(record.get("rented"))),
            json.dumps(record),
        )


def _plan(order: Order, record: Mapping[str, object], trouble: Optional[str]) -> RoomPlan:
    specs = as_object(record.get("specs")) or {}
    names = tuple(gpu_names(record))
    limits = [as_number(limit) for limit in as_list(specs.get("pl")) or []]
    # len(pl) need not be the GPU count (api.md section 3).
    watts = [float(limit) for limit in limits if limit is not None] or [250.0]
    return RoomPlan(
        order=order.id,
        ports=dict(order.ask.ports),
        env=order.ask.env,
        password=order.ask.ssh_password,
        public_key=order.ask.ssh_key,
        command=order.ask.command,
        image=order.ask.image,
        gpus=Gpus(
            names=names,
            memory_gb=float(as_number(specs.get("gpuram")) or 0),
            power_limits_w=tuple(watts[i % len(watts)] for i in range(len(names))),
            cuda_version=as_text(record.get("cuda_version")) or "12.4",
        ),
        ssh_answers=trouble != "no_ssh",
        lets_in=trouble != "refuses_key",
    )
