"""`AsyncCloreAI`: the calls of the service, and renting, watching and running on top of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from typing_extensions import Unpack

from clore_ai import _async, jobs, models
from clore_ai._api.steps import local
from clore_ai._async.jobs import AsyncJobCalls
from clore_ai.models.records import RentEvent
from clore_ai.rental import options, orders, spot
from clore_ai.rental import rent as renting
from clore_ai.rental import watch as watches
from clore_ai.rental.market import listing
from clore_ai.rental.orders import BOOT_DEADLINE_S
from clore_ai.rental.watch import MARKET_EVERY_S, ORDERS_EVERY_S


class AsyncCloreAI(AsyncJobCalls):
    """A client of the Clore.ai marketplace for asyncio (004, `AsyncCloreAI`).

    One object serves any number of tasks of one event loop.
    Requests are paced and retried by these rules:

    - 1 request per second, `create_order` once in 5 s: see `rate_limiter`.
    - Code 5 (HTTP 429): retried after 1 s, 2 s, 4 s …, each with up to 50 % jitter on top, at most
      `max_retries` times, and not after `deadline`. A `Retry-After` may lengthen a wait; if it ends
      after the deadline, an error says so at once.
    - No connection, or a lost answer: likewise, but a call that spends money (`create_order`,
      `set_spot_price`) is retried only if the service certainly did not act.
    - A lost `create_order` is never sent again: its order is looked up instead.

    Args:
        api_key: else ``CLORE_API_KEY``, else the config file. Only `marketplace` works without a
            key.
        base_url: else ``CLORE_BASE_URL``, else the config file, else the real service.
        timeout: seconds of each wait for the network. A whole attempt may take four times as long.
        max_retries: how often a call may be retried.
        state: a folder that keeps the ledger and the pace, and shares them with other processes;
            True for the state folder of the command line (``CLORE_HOME``, ``~/.clore``). Without it
            both last as long as the client.
        deadline: seconds for all attempts and waits of one call together, from its first turn on;
            then its last error is raised. None: no limit. The search for an order still takes its
            30 s.

    Raises:
        ConfigError: the config file can't be read, or the base URL is invalid.
    """

    async def watch(
        self,
        gpu: str | None = None,
        min_gpu_count: int | None = None,
        min_ram_gb: float | None = None,
        max_price_usd: float | None = None,
        *,
        every: float = MARKET_EVERY_S,
        timeout: float | None = None,
    ) -> AsyncIterator[models.MarketplaceServer]:
        """Free servers as they appear, the cheapest of each look first.

        Servers that are free at the start come first. A server comes again if it was away
        meanwhile, or if its price fell by 1 %. To rent a server at the price that you saw, pass
        that price to `create_order` as `required_price`. All watches of a client (with `state`, of
        all processes that use its key) share one request per look. Errors of the network or the
        service are retried.

        Args:
            gpu: as in `marketplace`, like the next three.
            min_gpu_count: the fewest GPUs of a server.
            min_ram_gb: the least memory, in GB.
            max_price_usd: USD per **hour**.
            every: seconds between two looks.
            timeout: seconds until the watch ends; None for no end.

        Raises:
            AuthError: the key is refused.
            ValueError: `every` or `timeout` is not above 0.
        """
        wanted = listing.Filter(gpu, min_gpu_count, min_ram_gb, max_price_usd)
        state = watches.market.MarketWatch.of([watches.market.Watch(wanted)], every, timeout)
        while (events := await self.drive(watches.taking.step(self._session, state))) is not None:
            for event in events:
                if isinstance(event, watches.market.Found):
                    for server in event.servers:
                        yield server

    async def monitor(
        self,
        order_ids: Sequence[int] = (),
        *,
        every: float = ORDERS_EVERY_S,
        timeout: float | None = None,
        gpus: bool = True,
        idle_cancel: float | None = None,
        others: bool = False,
        limits: bool = False,
    ) -> AsyncIterator[watches.view.OrdersView]:
        """Views of your orders as they change: state, host, SSH, lease, GPU use and temperature.

        A view comes with each look at the service, and whenever the GPUs change in between. Its
        `events` say in sentences what happened, including errors of the network or the service,
        which do not end the loop. GPUs are read every 5 s over one SSH connection per order, with
        your own ssh; if an order can't be read, its `why` says so. Leaving the loop leaves the
        orders running. With `idle_cancel` or `limits`, orders are ended while the next view is
        waited for: ``"cancelled"`` and ``"failed"`` events carry what became of them.

        Args:
            order_ids: watch these until all have ended; without ids, watch all until `timeout`.
            every: seconds from one look at the orders to the next.
            timeout: seconds until the views end; None for no end.
            gpus: read the GPUs; False opens no SSH connections.
            idle_cancel: seconds after which an idle order is cancelled, once a view has announced
                it (``"idle"``, then ``"idle_over"``); None: no order is.
            others: `idle_cancel` without `order_ids` includes orders that the ledger does not know.
            limits: cancel orders that reach their lease's end or their cost limit, as ``clore
                monitor`` does; the order of a job is left to the process that watches the job.

        Raises:
            NotFoundError: one of `order_ids` is not yours, or has ended.
            AuthError: the key is refused.
            ValueError: `every`, `timeout` or `idle_cancel` is not above 0, or `idle_cancel` comes
                with ``gpus=False``.
        """
        from clore_ai._gpu_feeds import watching

        state = watching(
            order_ids, every, timeout, gpus=gpus, idle_cancel_s=idle_cancel, others=others,
            at_limit=jobs.Turns(self._session).take if limits else None,
        )  # fmt: skip
        try:
            while (view := await self.drive(watches.view.step(self._session, state))) is not None:
                yield view
        finally:
            await self.drive(local(state.close))

    @options.documented(options.RentOptions)
    def rent(
        self,
        gpu: str | Sequence[str] | None = None,
        *,
        on_event: Callable[[RentEvent], object] | None = None,
        **given: Unpack[options.RentOptions],
    ) -> _async.rental.AsyncRental:
        """The best server that fits, rented and verified, for as long as a ``with`` block lasts.

        No request is sent before the block is entered. Leaving the block in any way cancels the
        order. The best server is the one that really costs least, fees included. If a server is not
        verified within `boot_deadline`, its order is cancelled, the failure is recorded against its
        host, and the next server is tried.

        Args:
            gpu: a part of the GPU's name, e.g. ``"RTX 4090"``, or several alternatives.
            on_event: called with each event; see `clore_ai.models.records.RentEvent`.
            given: see `RentOptions`.

        Entering the block raises:
            NoOffer: no server fits; carries how many each condition left, and what would match.
            RentFailed: every server that was tried failed; carries each reason. Nothing runs.
            BudgetError: over a budget or `max_cost_usd`; nothing runs.
            OrderUncertain: an order may exist; no other was rented after it.
            WaitTimeout: the end of a rejected order could not be confirmed; carries the order.

        Raises:
            InvalidInputError: the input makes no sense; nothing was sent.
        """
        return _async.rental.AsyncRental(
            self._driver, self._session, options.wished(gpu, given), on_event
        )

    @options.documented(options.RentOptions)
    def rent_when(
        self,
        gpu: str | Sequence[str] | None = None,
        *,
        every: float = MARKET_EVERY_S,
        timeout: float | None = None,
        on_event: Callable[[RentEvent], object] | None = None,
        **given: Unpack[options.RentOptions],
    ) -> _async.rental.AsyncRental:
        """As `rent`, but waits for a server that fits, as ``clore watch --rent`` does.

        It is rented once, at no more than the price that was seen. If other renters were faster, or
        no server passed its verification, nothing runs and the wait goes on. The looks are shared
        as those of `watch`, and errors of the network or the service are retried.

        Args:
            gpu: as in `rent`.
            every: seconds between two looks.
            timeout: seconds of waiting; then it is tried a last time, as `rent` does. None: no end.
            on_event: as in `rent`.
            given: see `RentOptions`.

        Entering the block raises:
            NoOffer, RentFailed: the last try failed.
            BudgetError, OrderUncertain, WaitTimeout: at once, as in `rent`.
            AuthError: the key is refused.

        Raises:
            InvalidInputError: the input makes no sense; nothing was sent.
            ValueError: `every` or `timeout` is not above 0.
        """
        patiently = watches.taking.patiently(every, timeout)
        wish = options.wished(gpu, given)
        return _async.rental.AsyncRental(self._driver, self._session, wish, on_event, patiently)

    @options.documented(options.RentOptions)
    async def offers(
        self, gpu: str | Sequence[str] | None = None, **given: Unpack[options.RentOptions]
    ) -> list[renting.ranking.Offer]:
        """The servers that `rent` would try, the best first, each with its cost and its end.

        As ``clore rent --dry-run``: nothing is rented. The arguments are those of `rent`.

        Raises:
            NoOffer, InvalidInputError: as in `rent`.
        """
        return await self.drive(renting.find.find(self._session, options.wished(gpu, given)))

    async def quote(
        self,
        server_id: int,
        currency: str,
        type: models.OrderType = "on-demand",  # noqa: A002 - 004's word
        spot_price: float | None = None,
        *,
        lease_h: float | None = None,
        max_hours: float | None = None,
        max_cost_usd: float | None = None,
    ) -> renting.ranking.Offer:
        """What an order of this server would cost, with its end, as ``clore deploy --dry-run``.

        Args:
            server_id: the server.
            currency: the coin, by the service's name.
            type: with ``"spot"`` at your bid.
            spot_price: the bid, in the coin per **day** for the whole server.
            lease_h: as in `rent`, as the next two.
            max_hours: hours.
            max_cost_usd: USD.

        Raises:
            NotFoundError, FieldError: it can't be rented, for the reason that the service gives.
            BudgetError: it would cost more than `max_cost_usd`.
        """
        limits = renting.wish.limits(lease_h, max_hours, max_cost_usd)
        flow = renting.deploy.quote(self._session, server_id, currency, type, spot_price, limits)
        return await self.drive(flow)

    @options.documented(options.SpotOptions)
    async def spot_auto(
        self, order_id: int, **given: Unpack[options.SpotOptions]
    ) -> spot.report.SpotReport:
        """Hold a spot order at the lowest winning bid until it ends. Returns a report.

        The bid is raised, up to the limit, as soon as a look shows that the order is outbid, and
        lowered as far and as often as the service allows (`max_step`, 600 s). After Ctrl-C or a
        cancelled task the order keeps running at its last bid.

        Args:
            order_id: a spot order of yours.
            given: the limit, and how to steer: see `SpotOptions`.

        Raises:
            NotFoundError, OrderEnded: there is no such order, or it has ended.
            InvalidInputError: it is not a spot order, or an argument is out of range.
            BudgetError: at the limit it would exceed a budget of the ledger.
            ConfigError: another command already steers this order.
        """
        return await self.drive(spot.autopilot.fly(self._session, options.steered(order_id, given)))

    async def wait_for_ssh(self, order_id: int, timeout: float = BOOT_DEADLINE_S) -> models.Order:
        """Wait for an order's SSH; returns the order, with the host that answered first.

        Args:
            order_id: the order.
            timeout: seconds; real machines take 1-6 minutes, sometimes forever (service.md, 3).

        Raises:
            NotFoundError: no such order.
            OrderEnded: it ended meanwhile; carries the order.
            WaitTimeout: no answer; carries the order, which is still billed.
        """
        return await self.drive(orders.wait.until_ssh(self._session, order_id, timeout))
