"""`Rental` and `AsyncRental`: what `client.rent(…)` gives. What they do is in `clore_ai.rental`."""

from __future__ import annotations

import asyncio
import logging
import shlex
import threading
from collections.abc import Generator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    contextmanager,
    suppress,
)
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

from typing_extensions import Self

from clore_ai import _windows
from clore_ai._api.steps import Flow, clock
from clore_ai._io.driver import AsyncDriver, Driver
from clore_ai._ssh import tunnel
from clore_ai._ssh.copy.fetch import MOST_BYTES
from clore_ai._ssh.target import Target
from clore_ai.exceptions import (
    CloreAPIError,
    ConfigError,
    InvalidInputError,
    LimitReached,
    WaitTimeout,
)
from clore_ai.jobs import Jobs
from clore_ai.models import Order
from clore_ai.models.records import RentEvent, RentEventKind
from clore_ai.rental import machine
from clore_ai.rental.limits import enforce
from clore_ai.rental.machine import Result
from clore_ai.rental.orders import ending
from clore_ai.rental.rent import rent
from clore_ai.rental.rent.attempt import OnEvent, Rented
from clore_ai.rental.rent.wish import Wish
from clore_ai.rental.session import Session

D = TypeVar("D")
_log = logging.getLogger("clore_ai")
_SSH_FAILED = 255


class _Held(Generic[D]):
    """What both kinds know of their order; each has a driver of its own kind."""

    def __init__(
        self, driver: D, session: Session, wish: Wish, tell: OnEvent | None = None
    ) -> None:
        self._driver, self._session, self._wish, self._tell = driver, session, wish, tell
        self._rented: Rented | None = None
        self.events: list[RentEvent] = []
        """All that happened on the way: each attempt, and why it was no good; later, its limits."""
        self._keeper = enforce.Keeper()
        self._reached: LimitReached | None = None
        self._why = ending.CANCELLED
        self._left_at: float | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(order_id={self.order_id})"

    @property
    def order(self) -> Order:
        """The order, as it was when it was handed over.

        Raises:
            InvalidInputError: nothing is rented yet: use it in a `with` block, or `start` it.
        """
        return self._need().order

    @property
    def order_id(self) -> int | None:
        """The order's id, from the moment that there is one; also of one that was no good."""
        if self._rented is not None:
            return self._rented.order.id
        return next((e.order_id for e in reversed(self.events) if e.order_id is not None), None)

    @property
    def ssh_command(self) -> str:
        """A line for a shell that opens one on the machine, with the order's key."""
        return shlex.join(self._target().ssh())

    def _flow(self) -> Flow[Rented]:
        _windows.refuse("A rental that is verified")
        return rent.rent(self._session, self._wish, self._note)

    def _note(self, event: RentEvent) -> None:
        self.events.append(event)
        if self._tell is not None:
            self._tell(event)

    def _need(self) -> Rented:
        if self._rented is None:
            raise InvalidInputError("Nothing is rented: use it in a `with` block, or start it.", 2)
        return self._rented

    def _target(self) -> Target:
        rented = self._need()
        if self._reached is not None:
            raise self._reached
        return rented.target or self._session.access.target(rented.order)

    @contextmanager
    def _working(self) -> Generator[Target]:
        """The way in; what fails in the block because of a limit is said to."""
        target = self._target()
        try:
            yield target
        except CloreAPIError as exc:
            if self._reached is not None:
                raise self._reached from exc
            raise

    def _result(self, result: Result) -> Result:
        if result.code == _SSH_FAILED and self._reached is not None:
            raise self._reached
        return result

    def _has_limits(self) -> bool:
        """Is there a limit to keep while it is used?"""
        self._keeper.order_id = self.order.id
        with suppress(ConfigError):
            return bool(self._keeper.leased(self._session))
        return False

    def _look(self) -> Flow[bool]:
        """Look at its limits; true when it has reached one, and was cancelled."""
        near, over = yield from self._keeper.look(self._session)
        for limit in near:
            self._say("near", enforce.near(limit))
        if over and self._reached is None:
            self._reached = enforce.reached(over[0])
            self._why = ending.of_limit(over[0].reason)
            self._say("limit", f"{over[0]}; the order is cancelled.")
        if self._reached is None:
            return False
        if (yield from self._left_to_its_job()):
            return False
        try:
            yield from machine.finish(self._session, self.order, self._why)
        except CloreAPIError as exc:
            _log.warning("%s", exc)
            return not isinstance(exc, WaitTimeout)  # else it is tried again
        return True

    def _left_to_its_job(self) -> Flow[bool]:
        """Does a job of `client.run` end it, with its outputs fetched? Not for ever."""
        now = (yield from clock()).mono
        self._left_at = now if self._left_at is None else self._left_at
        if now - self._left_at > enforce.GRACE_S:
            return False
        session = self._session
        with suppress(ConfigError):
            ledger = session.ledger
            jobs = Jobs(session.access.home, ledger.keys.key, ledger.names)
            return self.order.id in jobs.watched_orders()
        return False

    def _say(self, what: RentEventKind, message: str) -> None:
        order = self.order
        _log.warning("%s", message)
        self._note(RentEvent(what, 1, order.server_id or 0, order.id, message))


class Rental(_Held[Driver]):
    """A machine for as long as a ``with`` block lasts; made by `CloreAI.rent`.

    Entering rents and verifies it, leaving cancels it, whatever the way out. `start` and `cancel`
    do the same without a block. With `lease_h`, `max_hours` or `max_cost_usd` a thread watches it
    meanwhile: at 90 % it logs a warning, at the limit it cancels the order, and whatever is done
    with it afterwards raises `LimitReached`.
    """

    _guard: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cancel()

    def start(self) -> Self:
        """Rent and verify it; a second time nothing is done. Raises as `CloreAI.rent` says."""
        if self._rented is None:
            self._rented = self._driver.run(self._flow())
            if self._has_limits():
                self._stop = threading.Event()
                self._guard = threading.Thread(target=self._keep, name="clore-limits", daemon=True)
                self._guard.start()
        return self

    def _keep(self) -> None:
        while not self._stop.wait(enforce.SLICE_S):
            if self._driver.run(self._look()):
                return

    def exec(self, command: str, timeout: float = 600.0) -> Result:
        """Run one shell line on the machine, to its end.

        Args:
            command: a line for the shell there.
            timeout: seconds that it may take.

        Returns:
            Its `code`, `stdout` and `stderr`. 255 is also what ssh says for no connection.

        Raises:
            WaitTimeout: it took too long; carries the order. What it started there may go on.
            TransportError: there is no ssh here.
            LimitReached: the order was ended at its limit.
        """
        with self._working() as target:
            return self._result(self._driver.run(machine.run(self.order, target, command, timeout)))

    def put(self, local: str | Path, remote: str) -> None:
        """Bring a file, or a folder's content, to the machine: what is not there already.

        Args:
            local: a file or a folder here.
            remote: the file, or the folder that its content goes into; made where it is not there.

        Raises:
            FileNotFoundError: there is no such file or folder here.
            TransportError: it did not arrive whole.
        """
        with self._working() as target:
            self._driver.run(machine.put(target, local, remote))

    def get(
        self, remote: str, local: str | Path, *, max_bytes: int = MOST_BYTES
    ) -> Mapping[str, str]:
        """Fetch a file, or a folder's content, from the machine: what is not here already.

        Only files, folders, and links that stay inside are taken, never a name that programs here
        act on (``.git``, ``.envrc`` …), and nothing outside of `local` is written, whatever the
        machine sends.

        Args:
            remote: a file or a folder on the machine.
            local: the file, or the folder that its content goes into; made where it is not there.
            max_bytes: that it may hold.

        Returns:
            Why some of it was not taken, by name; empty where all is here.

        Raises:
            TransportError: it is not there, or did not arrive whole.
        """
        with self._working() as target:
            return self._driver.run(machine.get(target, remote, local, max_bytes))

    def forward(self, remote: int, local: int | None = None) -> AbstractContextManager[int]:
        """A local port that leads to port `remote` of the machine while a ``with`` block lasts.

        Args:
            remote: a port there, reached as its own 127.0.0.1; it need not be one of `ports`.
            local: the port on 127.0.0.1 here; any free one without.

        Raises:
            TransportError: there is no way to it, or the local port is taken.
        """
        return tunnel.forward(self._target(), remote, local)

    def cancel(self) -> None:
        """Cancel the order and wait until it is gone; nothing where it has ended already.

        Raises:
            CloreAPIError: it may still be billed; the error says what to do.
        """
        if self._guard is not None:
            self._stop.set()
            self._guard.join()
        if self._rented is not None:
            self._driver.run(machine.finish(self._session, self._rented.order))


class AsyncRental(_Held[AsyncDriver]):
    """A machine for as long as an ``async with`` block lasts; made by `AsyncCloreAI.rent`.

    Entering rents and verifies it, leaving cancels it, whatever the way out. `start` and `cancel`
    do the same without a block. With `lease_h`, `max_hours` or `max_cost_usd` a task watches it
    meanwhile: at 90 % it logs a warning, at the limit it cancels the order, and whatever is done
    with it afterwards raises `LimitReached`.
    """

    _guard: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.cancel()

    async def start(self) -> Self:
        """Rent and verify it; a second time nothing is done. Raises as `CloreAI.rent` says."""
        if self._rented is None:
            self._rented = await self._driver.run(self._flow())
            if self._has_limits():
                self._guard = asyncio.ensure_future(self._keep())
        return self

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(enforce.SLICE_S)
            if await self._driver.run(self._look()):
                return

    async def exec(self, command: str, timeout: float = 600.0) -> Result:
        """Run one shell line on the machine, to its end.

        Args:
            command: a line for the shell there.
            timeout: seconds that it may take.

        Returns:
            Its `code`, `stdout` and `stderr`. 255 is also what ssh says for no connection.

        Raises:
            WaitTimeout: it took too long; carries the order. What it started there may go on.
            TransportError: there is no ssh here.
            LimitReached: the order was ended at its limit.
        """
        with self._working() as target:
            return self._result(
                await self._driver.run(machine.run(self.order, target, command, timeout))
            )

    async def put(self, local: str | Path, remote: str) -> None:
        """Bring a file, or a folder's content, to the machine: what is not there already.

        Args:
            local: a file or a folder here.
            remote: the file, or the folder that its content goes into; made where it is not there.

        Raises:
            FileNotFoundError: there is no such file or folder here.
            TransportError: it did not arrive whole.
        """
        with self._working() as target:
            await self._driver.run(machine.put(target, local, remote))

    async def get(
        self, remote: str, local: str | Path, *, max_bytes: int = MOST_BYTES
    ) -> Mapping[str, str]:
        """Fetch a file, or a folder's content, from the machine: what is not here already.

        Only files, folders, and links that stay inside are taken, never a name that programs here
        act on (``.git``, ``.envrc`` …), and nothing outside of `local` is written, whatever the
        machine sends.

        Args:
            remote: a file or a folder on the machine.
            local: the file, or the folder that its content goes into; made where it is not there.
            max_bytes: that it may hold.

        Returns:
            Why some of it was not taken, by name; empty where all is here.

        Raises:
            TransportError: it is not there, or did not arrive whole.
        """
        with self._working() as target:
            return await self._driver.run(machine.get(target, remote, local, max_bytes))

    def forward(self, remote: int, local: int | None = None) -> AbstractAsyncContextManager[int]:
        """A local port that leads to port `remote` of the machine while a ``with`` block lasts.

        Args:
            remote: a port there, reached as its own 127.0.0.1; it need not be one of `ports`.
            local: the port on 127.0.0.1 here; any free one without.

        Raises:
            TransportError: there is no way to it, or the local port is taken.
        """
        return tunnel.forward_async(self._target(), remote, local)

    async def cancel(self) -> None:
        """Cancel the order and wait until it is gone; nothing where it has ended already.

        Raises:
            CloreAPIError: it may still be billed; the error says what to do.
        """
        if self._guard is not None:
            self._guard.cancel()
            await asyncio.wait({self._guard})
        if self._rented is not None:
            await self._driver.run(machine.finish(self._session, self._rented.order))
