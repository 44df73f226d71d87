"""Boots and ends rooms as the store has decided, one step at a time for each order.

Promises: the steps of one order's room are carried out in the order in which they were decided. A
room boots only after the rooms that the same transaction ends have ended.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from clore_sandbox.books import orders
from clore_sandbox.fleet.inventory import gpu_names
from clore_sandbox.provision import Gpus, Nothing, RoomPlan
from clore_sandbox.values.json_types import as_list, as_number, as_object, as_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping

    from clore_sandbox.books.orders import Order
    from clore_sandbox.market.clock import Clock
    from clore_sandbox.market.timetable import Timetable
    from clore_sandbox.provision import Provisioner
    from clore_sandbox.store import Store
    from clore_sandbox.values.json_types import JsonObject

__all__ = ["RoomSteps"]

_JOBS = 2**40
"""The room of a background job has its server's number plus this, above all orders' numbers."""

log = logging.getLogger("clore_sandbox")


class RoomSteps:
    """The rooms of one marketplace; `host_dies` takes a server offline."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        timetable: Timetable,
        provisioner: Provisioner,
        host_dies: Callable[[int], Awaitable[None]],
    ) -> None:
        self.provisioner = provisioner
        self.simulated: set[int] = set()
        """Accounts whose orders have no rooms: the simulated renters of a living market."""
        self.reserved: set[int] = set()
        """Orders whose ports were reserved and not cleared."""
        self._store = store
        self._clock = clock
        self._timetable = timetable
        self._host_dies = host_dies
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._boots: dict[int, int] = {}
        self._jobs: dict[int, JsonObject] = {}

    def follow(
        self, clear: Iterable[int], boot: Iterable[tuple[Order, Mapping[str, object]]]
    ) -> list[asyncio.Task[None]]:
        """End rooms, then boot those of orders on servers with these records."""
        boot = list(boot)
        if isinstance(self.provisioner, Nothing) and not self._tasks:
            for number in clear:
                self._forget(number)
            if not any(order.ask.ports for order, _ in boot):
                # Nothing to wait for, and a task would cost more than the rest of this method.
                for order, _ in boot:
                    self._schedule(order)
                return []
            clear = []
        ending = [self._next(order, self._clear(order)) for order in clear]

        async def start(order: Order, record: Mapping[str, object]) -> None:
            if ending:
                await asyncio.wait(ending)
            await self.reserve(order, record)

        return [*ending, *(self._next(o.id, start(o, record)) for o, record in boot)]

    def keep_jobs(
        self, jobs: Mapping[int, tuple[JsonObject, Mapping[str, object]]]
    ) -> list[asyncio.Task[None]]:
        """Run these background jobs, by the numbers of their servers, and no others."""
        wanted = {server: job for server, (job, _) in jobs.items()}
        ending = [server for server, job in self._jobs.items() if wanted.get(server) != job]
        tasks = [self._next(_JOBS + server, self._clear(_JOBS + server)) for server in ending]
        for server, (job, record) in jobs.items():
            if server in ending or server not in self._jobs:
                tasks.append(self._next(_JOBS + server, self._work(_JOBS + server, job, record)))
        self._jobs = wanted
        return tasks

    async def _work(self, room: int, job: JsonObject, record: Mapping[str, object]) -> None:
        env = as_object(job.get("env")) or {}
        try:
            await self.provisioner.reserve(
                RoomPlan(
                    order=room,
                    ports={},
                    env={name: str(value) for name, value in env.items()},
                    password=None,
                    public_key=None,
                    command=as_text(job.get("command")) or None,
                    image=as_text(job.get("image")) or "",
                    gpus=_gpus(record),
                )
            )
        except OSError:
            log.exception("no room for the job of server %d", room - _JOBS)
        else:
            await self.provisioner.boot(room)

    def _next(self, order: int, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run a step of an order's room after its earlier steps."""
        before = self._tasks.get(order)

        async def in_turn() -> None:
            if before is not None:
                await asyncio.wait([before])
            await work

        task = asyncio.ensure_future(in_turn())
        self._tasks[order] = task

        def done(ended: asyncio.Task[None]) -> None:
            if self._tasks.get(order) is ended:
                del self._tasks[order]

        task.add_done_callback(done)
        return task

    async def _clear(self, order: int) -> None:
        self._forget(order)
        await self.provisioner.clear(order)

    def _forget(self, order: int) -> None:
        self._boots.pop(order, None)
        self.reserved.discard(order)

    async def reserve(self, order: Order, record: Mapping[str, object]) -> None:
        """Reserve an order's ports, and boot its room when the time comes."""
        if order.account in self.simulated:
            return
        self.reserved.add(order.id)
        plan = _plan(order, record)
        try:
            ports = await self.provisioner.reserve(plan)
        except OSError as exc:
            # The order stays, as on the service, where some orders are never reachable.
            log.warning("no ports for order %d: %s", order.id, exc.strerror or exc)
            return
        where = orders.Connection(ports.host, dict(ports.tcp), ports.http)
        if plan.ports:
            await self._store.run(lambda tx: orders.connect(tx, order.id, where))
        self._schedule(order)

    def _schedule(self, order: Order) -> None:
        """Schedule an order's boot, and its fault if it has one."""
        if order.account in self.simulated:
            return
        self.reserved.add(order.id)
        trouble = order.trouble.kind if order.trouble else None
        if trouble != "never_boots":
            self._boots[order.id] = order.booted_ms
            self._timetable.at(order.booted_ms, lambda: self._boot(order))
        if order.trouble is not None and trouble == "host_dies":
            dies_ms = order.booted_ms + round(order.trouble.delay_s * 1000)
            if dies_ms <= self._clock.now_ms():  # it has already died and come back
                return
            # Nobody pays after that, so a jump must not pass it over.
            self._timetable.at(dies_ms, lambda: self._host_dies(order.server), in_a_jump="wait")

    async def _boot(self, order: Order) -> None:
        # Not if it was outbid meanwhile, or began again.
        if self._boots.get(order.id) == order.booted_ms:
            await self.provisioner.boot(order.id)

    async def quiet(self) -> None:
        """Wait until all steps are done."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def close(self) -> None:
        """End every room."""
        await self.quiet()
        await self.provisioner.close()


def _plan(order: Order, record: Mapping[str, object]) -> RoomPlan:
    trouble = order.trouble.kind if order.trouble else None
    return RoomPlan(
        order=order.id,
        ports=dict(order.ask.ports),
        env=order.ask.env,
        password=order.ask.ssh_password,
        public_key=order.ask.ssh_key,
        command=order.ask.command,
        image=order.ask.image,
        gpus=_gpus(record, missing=int(trouble == "fewer_gpus")),
        ssh_answers=trouble != "no_ssh",
        lets_in=trouble != "refuses_key",
    )


def _gpus(record: Mapping[str, object], missing: int = 0) -> Gpus:
    specs = as_object(record.get("specs")) or {}
    promised = tuple(gpu_names(record))
    names = promised[: len(promised) - missing]
    limits = [as_number(limit) for limit in as_list(specs.get("pl")) or []]
    # len(pl) need not be the GPU count (service.md section 3).
    watts = [float(limit) for limit in limits if limit is not None] or [250.0]
    return Gpus(
        names=names,
        memory_gb=float(as_number(specs.get("gpuram")) or 0),
        power_limits_w=tuple(watts[i % len(watts)] for i in range(len(names))),
        cuda_version=as_text(record.get("cuda_version")) or "12.4",
    )
