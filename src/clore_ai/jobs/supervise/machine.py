"""The connection to a job's machine: made again and again, until the machine is lost.

A login alone does not count, only useful bytes do: a machine that came back with another host key,
refuses the previous key, or runs commands that never return is as silent as one that is off. Its
silence is reported after 30 s, and the machine is lost after `lost_after_s`. Time in which this
machine slept, or the service could not be asked, does not count as silence.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Callable, TypeVar

from clore_ai._api import steps
from clore_ai._api.waits import WAITS
from clore_ai._ssh.connection import ConnectionLost, SSHConnection
from clore_ai.exceptions import (
    CloreAPIError,
    DBError,
    NotFoundError,
    OrderUnlisted,
    RateLimitError,
    ResponseError,
    TransportError,
    WaitTimeout,
)
from clore_ai.jobs.supervise import blame
from clore_ai.models import Order
from clore_ai.rental.orders import BOOT_DEADLINE_S, reconcile, wait

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from clore_ai.jobs.engine import Engine
    from clore_ai.jobs.store import Job, Jobs

T = TypeVar("T")

_BOOTS_TOLD_AFTER_S = 10.0
_TICK_S = 1.0
_LONGEST_COPY_S = 120.0
"""A copy has its own silence limit; this much of it counts."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0
_LEAST_TRIES = 3
_LOGINS = 3
"""Refused logins before we give up on a machine we never entered: its key may come late."""
_PASSING = (DBError, RateLimitError, ResponseError, TransportError)


class NoWayInError(CloreAPIError):
    """The machine's SSH answers, but refuses our login."""


@dataclass
class Reach:
    """The machine of one job.

    Args:
        on_message: called with a sentence for the user.
        forwards: ``-L`` of ssh.
        order: as last seen, starting with the host that answered; None to look it up.
        begun: the job may already run there: a login worked before.
    """

    engine: Engine
    jobs: Jobs
    job: Job
    on_message: Callable[[str], object]
    forwards: tuple[str, ...] = ()
    order: Order | None = None
    begun: bool = False
    line: SSHConnection | None = None
    trouble: str = ""
    """The error of the last try."""
    _entered: bool = False
    _silent_s: float = 0.0
    """How long the machine has done nothing for the job, while this machine was awake."""
    _at: float = field(default_factory=time.monotonic)
    _reported: bool = False
    """Was the silence reported to the user?"""

    def __post_init__(self) -> None:
        self._entered = self.begun or self.order is not None

    async def there(
        self, work: Callable[[SSHConnection], Awaitable[T]], *, copies: bool = False
    ) -> T:
        """The result of `work` over the connection; repeated whenever the connection is lost.

        `copies`: the work is silent while it copies, and keeps its own limit of silence.

        Raises:
            OrderEnded: the machine is lost.
            NoWayInError: the machine refuses every login, and always has.
        """
        pause, tries = _FIRST_PAUSE_S, 0
        while True:
            tries += 1
            order = self.order or await self._first_look()
            try:
                result = await self._tried(order, work, copies=copies)
            except ConnectionLost as exc:
                self.trouble = str(exc)
                if exc.moved:
                    self.useful()
                await self.close()
                shut = exc.shut
            else:
                self.useful()
                return result
            ours = await self._is_ours(order, tries)
            if shut and not ours and not self._entered and tries >= _LOGINS:
                await self._no_way_in(order)
            if tries > 1 or self._silent_s > WAITS.report_after_s:
                self._report_trouble(order)
            if ours or not await self._is_there(order):
                self._silent_s = 0.0  # nothing is known about the machine
            if tries >= _LEAST_TRIES and self._silent_s > self.job.lost_after_s:
                raise blame.HostLost(
                    f"Order {order.id} did not respond to the job for {self._silent_s:.0f} s "
                    f"while the service answers: its machine is lost ({self.trouble}).",
                    order,
                )
            await self._counted(asyncio.sleep(pause))
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _is_ours(self, order: Order, tries: int) -> bool:
        """Is the problem on this side? Then the time does not count against the host.

        Raises:
            CloreAPIError: it is, and the job has not started: it would fail on any machine.
        """
        ours = await blame.wrong_here(self.engine, order, self.trouble)
        if ours is not None:
            self.trouble = str(ours).rstrip(".")
            if tries >= _LEAST_TRIES and not self.begun:
                raise ours
        return ours is not None

    def useful(self) -> None:
        """The machine did something for the job just now."""
        self._silent_s, self._at = 0.0, time.monotonic()
        if self._reported:
            self._reported = False
            self.on_message("Connected again.")

    async def close(self) -> None:
        """Disconnect; the job on the machine continues."""
        if self.line is not None:
            await self.line.close()

    async def _tried(
        self, order: Order, work: Callable[[SSHConnection], Awaitable[T]], *, copies: bool
    ) -> T:
        line = await self._counted(self._connected(order))
        if not copies:
            return await self._counted(work(line), order)
        begun = time.monotonic()
        try:
            return await work(line)
        finally:
            self._silent_s += min(time.monotonic() - begun, _LONGEST_COPY_S)
            self._at = time.monotonic()

    async def _counted(self, work: Awaitable[T], order: Order | None = None) -> T:
        """The result of `work`; its time counts as the machine's silence until `useful` is called.

        Raises:
            Lost: the silence was too long. Only with an `order`, which the reports name.
        """
        task = asyncio.ensure_future(work)
        self._at = time.monotonic()
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=_TICK_S)
                now = time.monotonic()
                # Time asleep counts as one tick.
                self._silent_s += min(now - self._at, 2 * _TICK_S)
                self._at = now
                if order is None or task.done():
                    continue
                if self._silent_s > WAITS.report_after_s:
                    self.trouble = f"no response for {WAITS.report_after_s:.0f} s"
                    self._report_trouble(order)
                if self._silent_s > max(self.job.lost_after_s, WAITS.report_after_s):
                    raise ConnectionLost(f"no response for {self._silent_s:.0f} s")
            return task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    def _report_trouble(self, order: Order) -> None:
        if self._reported:
            return
        self._reported = True
        if self.begun:
            self.on_message(
                f"The connection is lost ({self.trouble}); the job keeps running. Retrying…"
            )
        else:
            self.on_message(f"Order {order.id} does not answer on SSH ({self.trouble}). Retrying…")

    async def _connected(self, order: Order) -> SSHConnection:
        """A connection that works, as far as is known.

        Raises:
            Lost: there is none now.
        """
        if self.line is None or not self.line.up:
            await self.close()
            if order.ssh_port is None or not order.ssh_hosts:
                raise ConnectionLost(
                    "it is paused and has no SSH address"
                )  # outbid, or still starting again
            self.order = order
            odd: list[str] = []
            way_in = partial(self.engine.session.access.target, order, on_message=odd.append)
            target = await self.engine.local(way_in)
            for sentence in odd:
                self.on_message(sentence)
            self.line = SSHConnection(target, self.jobs.home, self.forwards)
            await self.line.open()
            self._entered = True
        return self.line

    async def _no_way_in(self, order: Order) -> None:
        """Raise an error if the machine refuses us, rather than the network.

        Raises:
            NoWayInError: its SSH greets.
        """
        if order.ssh_port is None or self.engine.session.access.jumps:
            return
        greets = steps.probe(order.ssh_hosts[:1], order.ssh_port)
        if await self.engine.drive(greets) is not None:
            raise NoWayInError(
                f"Order {order.id} refuses the login ({self.trouble}): its host key has changed, "
                "or it does not accept the key that is kept for it, as after a rental with a "
                f"password. The order is still billed: clore cancel {order.id}"
            )

    async def _first_look(self) -> Order:
        session = self.engine.session
        if self.job.state == "new":
            return await self._boots()
        said = ""
        while True:
            try:
                order = await self.engine.drive(
                    wait.find(session, self.job.order_id, include_completed=True, known=self.begun)
                )
            except NotFoundError:
                if not self.begun:
                    raise
                order = Order.model_validate({"id": self.job.order_id, "expired": True})
            except _PASSING as exc:
                if str(exc) != said:
                    said = str(exc)
                    self.on_message(f"{said} Retrying…")
                await asyncio.sleep(_LONGEST_PAUSE_S)
                continue
            if not order.active:
                raise await self.engine.drive(reconcile.end_of(session, order))
            return order

    async def _boots(self) -> Order:
        """The order, once SSH greets; the wait is reported to the user."""
        session, order_id = self.engine.session, self.job.order_id
        begun = time.monotonic()
        try:
            return await self.engine.drive(wait.until_ssh(session, order_id, _BOOTS_TOLD_AFTER_S))
        except WaitTimeout:
            self.on_message(
                f"Order {order_id} does not answer on SSH yet; machines take 1-6 minutes to start. "
                "Retrying…"
            )
        left = BOOT_DEADLINE_S - (time.monotonic() - begun)
        return await self.engine.drive(wait.until_ssh(session, order_id, left))

    async def _is_there(self, order: Order) -> bool:
        """Does the service answer? Then the silence is the machine's.

        Raises:
            OrderEnded: the order has ended.
        """
        session = self.engine.session
        try:
            found = await self.engine.drive(
                wait.find(session, order.id, include_completed=True, known=True)
            )
        except OrderUnlisted:
            return True
        except NotFoundError:
            raise await self.engine.drive(reconcile.end_of(session, order)) from None
        except CloreAPIError:
            return False
        if not found.active:
            raise await self.engine.drive(reconcile.end_of(session, found))
        if found.ssh_port is not None and found.ssh_hosts:  # it may have restarted elsewhere
            self.order = found
        return True
