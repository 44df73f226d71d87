"""`AsyncRental`: the result of `client.rent(…)`. The work is in `clore_ai.rental`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from typing_extensions import Self

from clore_ai._io.async_driver import AsyncDriver
from clore_ai._io.async_guard import AsyncGuard
from clore_ai._rental_base import RentalBase
from clore_ai._ssh import tunnel
from clore_ai._ssh.copy import MOST_BYTES
from clore_ai.rental import machine
from clore_ai.rental.limits import enforce
from clore_ai.rental.machine import Result


class AsyncRental(RentalBase[AsyncDriver]):
    """A machine that lasts as long as its ``async with`` block; made by `AsyncCloreAI.rent`.

    Entering the block rents and verifies the machine; leaving it in any way cancels the order.
    `start` and `cancel` do the same without a block. With `lease_h`, `max_hours` or `max_cost_usd`
    a task watches the limits: at 90 % it logs a warning, and at the limit it cancels the order.
    After that, using the machine raises `LimitReached`.
    """

    _guard: AsyncGuard | None = None

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *exc: object) -> None:
        await self.cancel()

    async def start(self) -> Self:
        """Rent and verify it; a second call does nothing. Raises what the client's `rent` lists."""
        if self._rented is None:
            try:
                await self._driver.run(self._flow())
            except BaseException:
                await self.cancel()  # a Ctrl-C may come just after it was rented
                raise
            if self._has_limits:
                self._guard = AsyncGuard(self._keep_limits, enforce.SLICE_S)
        return self

    async def _keep_limits(self) -> bool:
        return await self._driver.run(self._look())

    async def exec(self, command: str, timeout: float = 600.0) -> Result:
        """Run one shell line on the machine, to its end.

        Args:
            command: a line for the machine's shell.
            timeout: seconds that the command may take.

        Returns:
            Its `code`, `stdout` and `stderr`. Code 255 may also mean that ssh found no connection.

        Raises:
            WaitTimeout: it took too long; carries the order. Its processes may still run.
            TransportError: ssh is not installed here.
            LimitReached: the order was cancelled at its limit.
        """
        with self._working() as target:
            return self._result(
                await self._driver.run(machine.run(self.order, target, command, timeout))
            )

    async def put(self, local: str | Path, remote: str) -> None:
        """Upload a file, or a folder's content; files that the machine already has are skipped.

        Args:
            local: a file or a folder here.
            remote: the file, or the folder for the content; created if missing.

        Raises:
            FileNotFoundError: there is no such local file or folder.
            TransportError: the upload is incomplete.
        """
        with self._working() as target:
            await self._driver.run(machine.put(target, local, remote))

    async def get(
        self, remote: str, local: str | Path, *, max_bytes: int = MOST_BYTES
    ) -> Mapping[str, str]:
        """Fetch a file, or a folder's content; files that are already here are skipped.

        Only files, folders, and links that stay inside are written, and never a name that local
        programs act on (``.git``, ``.envrc`` …). Nothing outside of `local` is written, whatever
        the machine sends.

        Args:
            remote: a file or a folder on the machine.
            local: the file, or the folder for the content; created if missing.
            max_bytes: the most that is fetched.

        Returns:
            The files that were refused, each with the reason; empty if everything was fetched.

        Raises:
            TransportError: it does not exist there, or the fetch is incomplete.
        """
        with self._working() as target:
            return await self._driver.run(machine.get(target, remote, local, max_bytes))

    def forward(self, remote: int, local: int | None = None) -> AbstractAsyncContextManager[int]:
        """A local port that is forwarded to port `remote` of the machine during a ``with`` block.

        Args:
            remote: a port on the machine's own 127.0.0.1; it need not be one of `ports`.
            local: the port on 127.0.0.1 here; by default any free one.

        Raises:
            TransportError: the port can't be reached, or the local port is taken.
        """
        return tunnel.forward_async(self._target(), remote, local)

    async def cancel(self) -> None:
        """Cancel the order and wait until it has ended; does nothing if it has already ended.

        Raises:
            CloreAPIError: it may still be billed; the error says what to do.
        """
        if self._guard is not None:
            await self._guard.stop()
        if self._rented is not None:
            await self._driver.run(machine.finish(self._session, self._rented.order))
