"""`Rental` and `AsyncRental`: what `client.rent(…)` gives. What they do is in `clore_ai.rental`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

from typing_extensions import Self

from clore_ai import _tunnel, _windows
from clore_ai._drive import AsyncDriver, Driver
from clore_ai._flow import Flow
from clore_ai._ssh.fetch import MOST_BYTES
from clore_ai._ssh.target import Target
from clore_ai.exceptions import InvalidInputError
from clore_ai.models import Order
from clore_ai.rental import inside, rent
from clore_ai.rental.inside import Result
from clore_ai.rental.rent import Event, Rented, Tell
from clore_ai.rental.session import Session
from clore_ai.rental.wish import Wish

D = TypeVar("D")


class _Held(Generic[D]):
    """What both kinds know of their order; each has a driver of its own kind."""

    def __init__(self, driver: D, session: Session, wish: Wish, tell: Tell | None = None) -> None:
        self._driver, self._session, self._wish, self._tell = driver, session, wish, tell
        self._rented: Rented | None = None
        self.events: list[Event] = []
        """All that happened on the way: each attempt, and why it was no good."""

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

    def _note(self, event: Event) -> None:
        self.events.append(event)
        if self._tell is not None:
            self._tell(event)

    def _need(self) -> Rented:
        if self._rented is None:
            raise InvalidInputError("Nothing is rented: use it in a `with` block, or start it.", 2)
        return self._rented

    def _target(self) -> Target:
        rented = self._need()
        return rented.target or self._session.access.target(rented.order)


class Rental(_Held[Driver]):
    """A machine for as long as a ``with`` block lasts; made by `CloreAI.rent`.

    Entering rents and verifies it, leaving cancels it, whatever the way out. `start` and `cancel`
    do the same without a block.
    """

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
        return self

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
        """
        target = self._target()
        return self._driver.run(inside.run(self.order, target, command, timeout))

    def put(self, local: str | Path, remote: str) -> None:
        """Bring a file, or a folder's content, to the machine: what is not there already.

        Args:
            local: a file or a folder here.
            remote: the file, or the folder that its content goes into; made where it is not there.

        Raises:
            FileNotFoundError: there is no such file or folder here.
            TransportError: it did not arrive whole.
        """
        self._driver.run(inside.put(self._target(), local, remote))

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
        return self._driver.run(inside.get(self._target(), remote, local, max_bytes))

    def forward(self, remote: int, local: int | None = None) -> AbstractContextManager[int]:
        """A local port that leads to port `remote` of the machine while a ``with`` block lasts.

        Args:
            remote: a port there, reached as its own 127.0.0.1; it need not be one of `ports`.
            local: the port on 127.0.0.1 here; any free one without.

        Raises:
            TransportError: there is no way to it, or the local port is taken.
        """
        return _tunnel.forward(self._target(), remote, local)

    def cancel(self) -> None:
        """Cancel the order and wait until it is gone; nothing where it has ended already.

        Raises:
            CloreAPIError: it may still be billed; the error says what to do.
        """
        if self._rented is not None:
            self._driver.run(inside.finish(self._session, self._rented.order))


class AsyncRental(_Held[AsyncDriver]):
    """A machine for as long as an ``async with`` block lasts; made by `AsyncCloreAI.rent`.

    Entering rents and verifies it, leaving cancels it, whatever the way out. `start` and `cancel`
    do the same without a block.
    """

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
        return self

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
        """
        target = self._target()
        return await self._driver.run(inside.run(self.order, target, command, timeout))

    async def put(self, local: str | Path, remote: str) -> None:
        """Bring a file, or a folder's content, to the machine: what is not there already.

        Args:
            local: a file or a folder here.
            remote: the file, or the folder that its content goes into; made where it is not there.

        Raises:
            FileNotFoundError: there is no such file or folder here.
            TransportError: it did not arrive whole.
        """
        await self._driver.run(inside.put(self._target(), local, remote))

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
        return await self._driver.run(inside.get(self._target(), remote, local, max_bytes))

    def forward(self, remote: int, local: int | None = None) -> AbstractAsyncContextManager[int]:
        """A local port that leads to port `remote` of the machine while a ``with`` block lasts.

        Args:
            remote: a port there, reached as its own 127.0.0.1; it need not be one of `ports`.
            local: the port on 127.0.0.1 here; any free one without.

        Raises:
            TransportError: there is no way to it, or the local port is taken.
        """
        return _tunnel.forward_async(self._target(), remote, local)

    async def cancel(self) -> None:
        """Cancel the order and wait until it is gone; nothing where it has ended already.

        Raises:
            CloreAPIError: it may still be billed; the error says what to do.
        """
        if self._rented is not None:
            await self._driver.run(inside.finish(self._session, self._rented.order))
