"""Both clients behind the same blocking calls, so that one test body checks both."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from clore_ai import AsyncCloreAI, CloreAI

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

    from clore_sandbox import Entry, Sandbox

_numbers = itertools.count(1)


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def start(self, work: Any) -> Any:
        """The future of a coroutine."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def run(self, work: Any) -> Any:
        """The result of a coroutine."""
        return self.start(work).result(60)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Api:
    """`CloreAI`, or `AsyncCloreAI` in a loop of its own: every call blocks.

    Unpaced, with an account of its own in `market`: `key`, and `entries()` of the journal.
    """

    def __init__(self, kind: str, market: Sandbox, *, paced: bool = False, **options: Any) -> None:
        self.market = market
        # The journal keeps a key's last characters: these are unique.
        self.key = market.create_account(api_key=f"key-of-a-test-{next(_numbers):04}")
        options = {"api_key": self.key, "base_url": market.base_url, **options}
        self._loop = Loop() if kind == "async" else None
        self.client: Any = AsyncCloreAI(**options) if self._loop else CloreAI(**options)
        if not paced:
            self.client.rate_limiter.min_interval = 0
            self.client.rate_limiter.create_order_delay = 0

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.client, name)
        if self._loop is None or not inspect.iscoroutinefunction(value):
            return value
        loop = self._loop
        return lambda *args, **kwargs: loop.run(value(*args, **kwargs))

    def at_once(self, *calls: tuple[str, dict[str, Any]]) -> list[Any]:
        """Make all calls concurrently, in one gather or in threads; the results and errors."""
        if self._loop is not None:

            async def gather() -> list[Any]:
                flows = [getattr(self.client, name)(**kwargs) for name, kwargs in calls]
                return await asyncio.gather(*flows, return_exceptions=True)

            return self._loop.run(gather())
        ready = threading.Barrier(len(calls))

        def one(name: str, kwargs: dict[str, Any]) -> Any:
            ready.wait()
            try:
                return getattr(self.client, name)(**kwargs)
            except Exception as exc:  # noqa: BLE001 - as gather does
                return exc

        with ThreadPoolExecutor(len(calls)) as pool:
            return list(pool.map(lambda call: one(*call), calls))

    def entries(self, endpoint: str | None = None) -> list[Entry]:
        """The requests of this account, oldest first."""
        mine = [e for e in self.market.journal() if e.key == f"…{self.key[-4:]}"]
        return [e for e in mine if endpoint in (None, e.endpoint)]

    def fault(self, endpoint: str, kind: str, **options: Any) -> None:
        """Make the marketplace misbehave for this account only."""
        self.market.fault(endpoint, kind, key=self.key, **options)

    def rent(self, server_id: int, **changes: Any) -> Any:
        """An on-demand order in bitcoin."""
        order = {"image": "i", "type": "on-demand", "currency": "bitcoin", "ssh_password": "p"}
        return self.create_order(server_id, **{**order, **changes})

    @contextlib.contextmanager
    def stream(self, name: str, **options: Any) -> Iterator[Iterator[Any]]:
        """The events of an iterator of the client, as they come; it is closed with the block."""
        made = getattr(self.client, name)(**options)
        if self._loop is None:
            with contextlib.closing(made):
                yield made
            return
        loop, over = self._loop, object()

        async def following() -> Any:
            try:
                return await made.__anext__()
            except StopAsyncIteration:
                return over

        try:
            yield iter(lambda: loop.run(following()), over)
        finally:
            loop.run(made.aclose())

    def renting(self, *args: Any, **kwargs: Any) -> Renting:
        """The blocking form of `rent`."""
        return Renting(self.client.rent(*args, **kwargs), self._loop)

    def renting_when(self, *args: Any, **kwargs: Any) -> Renting:
        """The blocking form of `rent_when`."""
        return Renting(self.client.rent_when(*args, **kwargs), self._loop)

    def shut(self) -> None:
        self.close()
        if self._loop is not None:
            self._loop.close()


class Renting:
    """A `Rental`, or an `AsyncRental` in a loop of its own, for a ``with`` block."""

    def __init__(self, rental: Any, loop: Loop | None) -> None:
        self.rental, self._loop = rental, loop

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.rental, name)
        if self._loop is None or not inspect.iscoroutinefunction(value):
            return value
        loop = self._loop
        return lambda *args, **kwargs: loop.run(value(*args, **kwargs))

    def __enter__(self) -> Self:
        if self._loop is None:
            self.rental.__enter__()
        else:
            self._loop.run(self.rental.__aenter__())
        return self

    def __exit__(self, *exc: object) -> None:
        if self._loop is None:
            self.rental.__exit__(*exc)
        else:
            self._loop.run(self.rental.__aexit__(*exc))

    @contextlib.contextmanager
    def forward(self, *args: Any) -> Any:
        """The local port."""
        way = self.rental.forward(*args)
        if self._loop is None:
            with way as port:
                yield port
        else:
            port = self._loop.run(way.__aenter__())
            try:
                yield port
            finally:
                self._loop.run(way.__aexit__(None, None, None))
