"""`AsyncRental`: what `client.rent(…)` gives. The work is in `clore_ai.rental`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from typing_extensions import Self

from clore_ai._io.async_driver import AsyncDriver
from clore_ai._rental_base import AsyncGuard, RentalBase
from clore_ai._ssh import tunnel
from clore_ai._ssh.copy.fetch import MOST_BYTES
from clore_ai.rental import machine
from clore_ai.rental.machine import Result


class AsyncRental(RentalBase[AsyncDriver]):
    """A machine that lasts as long as its ``async with`` block; made by `AsyncCloreAI.rent`.

    Entering rents and verifies it, leaving cancels it, whatever the way out. `start` and `cancel`
    do the same without a block. With `lease_h`, `max_hours` or `max_cost_usd` a task watches it
    meanwhile: at 90 % it logs a warning, at the limit it cancels the order, and whatever is done
    with it afterwards raises `LimitReached`.
    """

    _guard: AsyncGuard | None = None

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *exc: object) -> None:
        await self.cancel()

    async def start(self) -> Self:
        """Rent and verify it; a second time nothing is done. Raises as the client's `rent` says."""
        if self._rented is None:
            try:
                await self._driver.run(self._flow())
            except BaseException:
                await self.cancel()  # a Ctrl-C may come when it was rented just now
                raise
            if self._has_limits():
                self._guard = AsyncGuard(self._keep_limits)
        return self

    async def _keep_limits(self) -> bool:
        return await self._driver.run(self._look())

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
            await self._guard.stop()
        if self._rented is not None:
            await self._driver.run(machine.finish(self._session, self._rented.order))
