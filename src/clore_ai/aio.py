"""`AsyncCloreAI`, the client for asyncio: `CloreAI` with `await` (004). One line a method."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from typing_extensions import Self, Unpack

from clore_ai import jobs
from clore_ai._api import endpoints
from clore_ai._api.steps import Flow, request
from clore_ai._facade import Facade, say_per_hour
from clore_ai._io.driver import AsyncDriver
from clore_ai._io.gpu_feeds import watching
from clore_ai._values.secrets import hide
from clore_ai.jobs import Job
from clore_ai.jobs.engine import Engine
from clore_ai.models import (
    MarketplaceServer,
    MyServer,
    Order,
    OrderType,
    ServerConfig,
    SpotMarket,
    Wallet,
)
from clore_ai.models.records import RentEvent
from clore_ai.rental import options
from clore_ai.rental.market import listing
from clore_ai.rental.orders import cancel, check, create, host_settings, reconcile, wait
from clore_ai.rental.spot import autopilot
from clore_ai.rental.spot import set_price as spot
from clore_ai.rental.spot.run import SpotReport
from clore_ai.rental.watch import market
from clore_ai.rental.watch import view as overview
from clore_ai.rental.watch.view import OrdersView
from clore_ai.rentals import AsyncRental

T = TypeVar("T")


class AsyncCloreAI(Facade[AsyncDriver]):
    """A client of the Clore.ai marketplace for asyncio (004, `AsyncCloreAI`).

    One object serves any number of tasks of one event loop; requests are paced and sent again by
    these rules:

    - 1 request a second, `create_order` once in 5 s: see `rate_limiter`.
    - Code 5 (HTTP 429): after 1 s, 2 s, 4 s …, each up to half as long again by chance, at most
      `max_retries` times, and no more once `deadline` is over. A `Retry-After` may make a wait
      longer; one that ends after the deadline is an error at once, which says until when.
    - No connection, or an answer lost: likewise, but a call that spends money (`create_order`,
      `set_spot_price`) only where the service surely did not act.
    - A lost `create_order` is never sent again: its order is looked for instead.

    Args:
        api_key: else ``CLORE_API_KEY``, else the config file. Only `marketplace` works without.
        base_url: else ``CLORE_BASE_URL``, else the config file, else the real service.
        timeout: seconds of each wait for the network; an attempt may take four times that in all.
        max_retries: how often a call may be sent again.
        state: a folder that keeps the ledger for later and for other processes, and the pace of
            all of them; True for the state folder of the command line (``CLORE_HOME``,
            ``~/.clore``). Without it both last as long as the client.
        deadline: seconds for all attempts and waits of one call together, from its first turn on;
            then its last error is raised. None: no end. The look for an order goes on for its 30 s.

    Raises:
        ConfigError: the config file can't be read, or the base URL is none.
    """

    _kind = AsyncDriver

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the HTTP connections and the files of the state folder."""
        self._close_files()
        for driver in (*self._former, self._driver):
            await driver.close()

    async def drive(self, flow: Flow[T]) -> T:
        """Run a flow of `clore_ai.rental` and return its result."""
        return await self._driver.run(flow)

    async def in_loop(self, work: Callable[[Engine], Awaitable[T]]) -> T:
        """The result of what watches a job (`clore_ai.jobs`), in an event loop."""
        return await work(self._engine(self._driver))

    async def wallets(self) -> list[Wallet]:
        """The account's wallets. `balance` is in the wallet's own coin, or None (004, wallets).

        Raises:
            AuthError: no key, or an unknown one.
        """
        return await self.drive(reconcile.wallets(self._session))

    async def marketplace(
        self,
        gpu: str | None = None,
        min_gpu_count: int | None = None,
        min_ram_gb: float | None = None,
        max_price_usd: float | None = None,
        available_only: bool = True,
    ) -> list[MarketplaceServer]:
        """Servers for rent, filtered here: the service returns all of them. Needs no key.

        Args:
            gpu: a part of the GPU's name, e.g. ``"RTX 4090"``; case does not matter.
            min_gpu_count: GPUs a server.
            min_ram_gb: GB.
            max_price_usd: USD per **hour** for the whole server, on-demand, without the renter's
                fee. A server whose price in USD is unknown is left out.
            available_only: leave out rented servers.

        Simultaneous calls share one request (004, marketplace; service.md, 2-3).
        """
        if max_price_usd is not None:
            say_per_hour()
        wanted = listing.Filter(gpu, min_gpu_count, min_ram_gb, max_price_usd, available_only)
        return (await self.drive(listing.marketplace(self._session, wanted))).servers

    async def watch(
        self,
        gpu: str | None = None,
        min_gpu_count: int | None = None,
        min_ram_gb: float | None = None,
        max_price_usd: float | None = None,
        *,
        every: float = market.EVERY_S,
        timeout: float | None = None,
    ) -> AsyncIterator[MarketplaceServer]:
        """Free servers as they turn up, the cheapest of each look first.

        Those that are there at the start come first. One comes again when it was away meanwhile,
        or fell in price by 1 %. To rent one exactly as it was seen, give its price to
        `create_order` as `required_price`. All watches of a client, with `state` of all processes
        of a key, share one request a look; what passes (network, service) is looked over again.

        Args:
            gpu: as in `marketplace`, as the next three.
            min_gpu_count: GPUs a server.
            min_ram_gb: GB.
            max_price_usd: USD per **hour**.
            every: seconds between two looks.
            timeout: seconds until it ends; None for never.

        Raises:
            AuthError: the key is refused.
            ValueError: `every` or `timeout` is not above 0.
        """
        wanted = listing.Filter(gpu, min_gpu_count, min_ram_gb, max_price_usd)
        state = market.MarketWatch.of(wanted, every, timeout)
        while (events := await self.drive(market.step(self._session, state))) is not None:
            for event in events:
                if isinstance(event, market.Found):
                    for server in event.servers:
                        yield server

    async def monitor(
        self,
        order_ids: Sequence[int] = (),
        *,
        every: float = overview.EVERY_S,
        timeout: float | None = None,
        gpus: bool = True,
    ) -> AsyncIterator[OrdersView]:
        """Views of your orders as they change: state, host, SSH, lease, GPU use and temperature.

        One comes with each look at the service, and one whenever the GPUs have news in between;
        `events` says what happened, in sentences. Trouble of the network or the service is such an
        event, and passes. GPUs are read every 5 s over one SSH connection an order, with your own
        ssh; an order that can't be read says `why`. Leaving the loop leaves the orders running.

        Args:
            order_ids: these, until all have ended; none: all there are, ended by `timeout` only.
            every: seconds from one look at the orders to the next.
            timeout: seconds until it ends; None for never.
            gpus: read them; False opens no SSH connections.

        Raises:
            NotFoundError: one of `order_ids` is not yours, or has ended.
            AuthError: the key is refused.
            ValueError: `every` or `timeout` is not above 0.
        """
        with watching(order_ids, every, timeout, gpus=gpus) as state:
            while not state.over:
                view = await self.drive(overview.step(self._session, state))
                if view is None:
                    return
                yield view

    async def my_servers(self) -> list[MyServer]:
        """The servers that the user hosts; unconnected ones have no `id` (004, my_servers)."""
        return await self.drive(request(endpoints.my_servers(), self._session.rules))

    async def server_config(self, server_name: str) -> ServerConfig:
        """The settings of one hosted server (004, server_config).

        Raises:
            FieldError: there is no such server.
        """
        return await self.drive(request(endpoints.server_config(server_name), self._session.rules))

    async def my_orders(self, include_completed: bool = False) -> list[Order]:
        """The user's rentals; with `include_completed` also those that ended (004, my_orders)."""
        flow = reconcile.orders(self._session, include_completed=include_completed)
        return await self.drive(flow)

    async def create_order(
        self,
        server_id: int,
        image: str,
        type: OrderType,  # noqa: A002 - 004's word
        currency: str,
        ssh_password: str | None = None,
        ssh_key: str | None = None,
        ports: dict[str, str] | None = None,
        env: dict[str, str] | None = None,
        jupyter_token: str | None = None,
        command: str | None = None,
        spot_price: float | None = None,
        required_price: float | None = None,
        autossh_entrypoint: str | bool | None = None,  # 004's signature; service.md: a bool too
        *,
        dockerhub_auth: str | dict[str, str] | None = None,
        remember_password: bool | None = None,
        client_ref: str | None = None,
        purpose: str | None = None,
        lease_h: float | None = None,
        max_cost_usd: float | None = None,
    ) -> Order:
        """Rent a server: one order, whatever happens to the answer, and the order itself back.

        The service's success names no order, so it is looked for in `my_orders`; that takes
        some seconds (service.md, 3). SSH answers later: see `wait_for_ssh`.

        Args:
            server_id: from `marketplace`.
            image: Docker image; the service does not check that it exists.
            type: ``"on-demand"`` or ``"spot"``.
            currency: ``"bitcoin"``, ``"CLORE-Blockchain"`` or ``"USD-Blockchain"``; the server's
                `allowed_coins` decide.
            ssh_password: up to 32 characters; goes with or without `ssh_key`.
            ssh_key: a public key's text, up to 3,072 characters.
            ports: e.g. ``{"22": "tcp", "8888": "http"}``; one http port at most.
            env: values up to 1,536 characters, without ``&``.
            jupyter_token: up to 32 characters.
            command: run at start-up.
            spot_price: the bid, in `currency` per **day** for the whole server.
            required_price: the list price that you saw, in `currency` per **day**.
            autossh_entrypoint: a bool on the live service, a text in 004.
            dockerhub_auth: the login for a private image, as the service's own clients send it: a
                text in the newest, an object before.
            remember_password: whether the service keeps `ssh_password` for later orders.
            client_ref: your name for this rental; given twice, the same order comes back, with
                `state` across processes and restarts, too.
            purpose: what it is for, as the ledger shall say.
            lease_h: hours after which ``clore`` ends it (with `state`; docs/spending.md); None
                for no end.
            max_cost_usd: USD, fees in, that it may cost before ``clore`` ends it.

        Raises:
            InvalidInputError: the input is refused, here or there; nothing was rented.
            AuthError: no key, or an unknown one.
            FieldError: refused, e.g. ``server-already-rented``; nothing was rented.
            BudgetError: over a budget of the ledger (``clore budget``); nothing was rented.
            RateLimitError: still refused after `max_retries` waits; nothing was rented.
            OrderUncertain: an order may exist; look at `my_orders` before trying again.
        """
        ssh_password, ssh_key = hide(ssh_password), hide(ssh_key)
        jupyter_token, env, command = hide(jupyter_token), hide(env), hide(command)
        dockerhub_auth = hide(dockerhub_auth)
        body = check.order_body(
            server_id=server_id, image=image, type=type, currency=currency,
            ssh_password=ssh_password, ssh_key=ssh_key, ports=ports, env=env,
            jupyter_token=jupyter_token, command=command, spot_price=spot_price,
            required_price=required_price, autossh_entrypoint=autossh_entrypoint,
            dockerhub_auth=dockerhub_auth, remember_password=remember_password,
        )  # fmt: skip
        check.limits(lease_h, max_cost_usd)
        terms = create.RentalTerms(client_ref, purpose, lease_h and lease_h * 3600, max_cost_usd)
        return await self.drive(create.create(self._session, body, terms))

    @options.told(options.RentOptions)
    def rent(
        self,
        gpu: str | Sequence[str] | None = None,
        *,
        tell: Callable[[RentEvent], object] | None = None,
        **given: Unpack[options.RentOptions],
    ) -> AsyncRental:
        """The best server that fits, rented and verified, for as long as a ``with`` block lasts.

        Nothing is asked of the service before the block is entered. Leaving it cancels the order,
        whatever the way out. Best is what really costs least, fees in; a server that does not turn
        out good within `boot_deadline` is cancelled, held against its host, and the next is taken.

        Args:
            gpu: a part of the GPU's name, e.g. ``"RTX 4090"``, or several, any of which will do.
            tell: is told each event on the way, see `clore_ai.models.records.RentEvent`.
            given: see `RentOptions`.

        On entering it raises:
            NoOffer: no server fits; carries which condition left how many, and what would match.
            RentFailed: none that was tried was good; carries each reason. Nothing of it runs.
            BudgetError: over a budget or `max_cost_usd`; nothing runs.
            OrderUncertain: an order may exist; none other was rented after it.
            WaitTimeout: an order that was no good was not seen to end; carries it.

        Raises:
            InvalidInputError: the input makes no sense; nothing was sent.
        """
        return AsyncRental(self._driver, self._session, options.wished(gpu, given), tell)

    async def cancel_order(self, order_id: int, issue: str | None = None) -> dict[str, Any]:
        """End a rental; `issue` (up to 2,048 characters) tells the host why (004, cancel_order).

        Billing stops within about a minute (service.md, 4). Sent again when an answer gets lost.

        Raises:
            FieldError: ``you_dont_own_this_order`` or ``order_not_active``.
        """
        return await self.drive(cancel.cancel(self._session, order_id, issue))

    async def spot_marketplace(self, server_id: int) -> SpotMarket:
        """The spot auction of one server; bids are in coin per **day** (004, spot_marketplace)."""
        return await self.drive(request(endpoints.spot_marketplace(server_id), self._session.rules))

    async def set_spot_price(self, order_id: int, price: float) -> dict[str, Any]:
        """Change a spot bid to `price`, in the order's coin per **day** (004, set_spot_price).

        Raising is free. A bid that this client lowered is not lowered again within 600 s: the
        service would refuse it, so nothing is sent.

        Raises:
            FieldError: e.g. ``can_lower_every_600_seconds`` or ``exceeded_max_step``.
        """
        return await self.drive(spot.set_price(self._session, order_id, price))

    @options.told(options.SpotOptions)
    async def spot_auto(self, order_id: int, **given: Unpack[options.SpotOptions]) -> SpotReport:
        """Hold a spot order at the lowest bid that wins, until it ends; what came of it.

        Raises the bid at the first look that shows it outbid, up to the limit, and lowers it as far
        and as often as the service lets (`max_step`, 600 s). Ended by Ctrl-C or a cancelled task,
        the order goes on at its last bid.

        Args:
            order_id: a spot order of the user's.
            given: the limit, and how to steer: see `SpotOptions`.

        Raises:
            NotFoundError, OrderEnded: there is no such order, or it runs no more.
            InvalidInputError: it is no spot order, or an argument is out of range.
            BudgetError: at the limit it would go over a budget of the ledger.
            ConfigError: another command steers this order already.
        """
        return await self.drive(autopilot.fly(self._session, options.steered(order_id, given)))

    async def set_server_settings(
        self,
        name: str,
        availability: bool | None = None,
        mrl: int | None = None,
        on_demand: float | None = None,
        spot: float | None = None,
    ) -> dict[str, Any]:
        """Change a hosted server's settings; what is None stays as it is (004).

        Args:
            name: the server's name.
            availability: can it be rented?
            mrl: **maximum** rental length in hours (service.md, 2; 004 says minimum).
            on_demand: price per **day**, in bitcoin.
            spot: lowest bid per **day**, in bitcoin.

        Raises:
            FieldError: e.g. ``server_dont_exist`` or ``invalid_mrl``.
        """
        flow = host_settings.set_settings(
            self._session, name, availability=availability, mrl=mrl, on_demand=on_demand, spot=spot
        )
        return await self.drive(flow)

    async def wait_for_ssh(self, order_id: int, timeout: float = wait.BOOT_DEADLINE_S) -> Order:
        """Wait until an order's SSH port answers, and return the order, that host first.

        Args:
            order_id: the order.
            timeout: seconds; real machines take 1-6 minutes, sometimes forever (service.md, 3).

        Raises:
            NotFoundError: no such order.
            OrderEnded: it ended meanwhile; carries the order.
            WaitTimeout: no answer; carries the order, which is still billed.
        """
        return await self.drive(wait.until_ssh(self._session, order_id, timeout))

    async def run(
        self,
        command: str | Sequence[str],
        order_id: int,
        *,
        folder: str | Path = ".",
        outputs: Sequence[str] = (),
        env: dict[str, str] | None = None,
        setup: str | None = None,
        cancel: bool = False,
        on_output: Callable[[bytes], object] | None = None,
        send_secrets: Sequence[str] = (),
        max_upload: str = jobs.MOST,
        yes_really: bool = False,
    ) -> Job:
        """Run a command on an order: upload a folder, run, stream, fetch; the job's record.

        `code` in it is the command's own exit code. A dropped connection does not end the job, and
        is made again. The jobs' records and logs are in the state folder (docs/run.md).

        Args:
            command: one text is a line for the shell there; of several each is quoted.
            order_id: where; its SSH is waited for.
            folder: the working folder; what git ignores, or a ``.cloreignore``, stays here.
            outputs: folders or files in it that come back while it runs and at the end.
            env: variables; in no record, and on no command line.
            setup: a line to run before, or a file of requirements (``….txt``).
            cancel: cancel the order in the end, whichever way it ends.
            on_output: takes what the job writes, as it comes; standard output and errors in one.
            send_secrets: files that look like secrets and may be uploaded, or folders of such,
                below the working folder.
            max_upload: the most that may be uploaded, e.g. ``2GB``.
            yes_really: `folder` may hold your home folder, or the state folder, which itself is
                never uploaded.

        Raises:
            InvalidInputError: it can't be run so, or a secret or too much would be uploaded;
                nothing was sent, and the order stays.
            LimitReached: the order's lease is over, or it has cost all that it may: the job was
                stopped, its outputs fetched, and the order cancelled.
            CloreAPIError: it could not be done; `state` of the record says how far it came.
        """
        words = [command] if isinstance(command, str) else command
        consent = jobs.Consent.of(send_secrets, max_upload, really=yes_really)
        spec = jobs.checked(words, Path(folder), outputs, hide(env), setup, consent=consent)
        return await self.in_loop(
            lambda engine: jobs.run(engine, spec, order_id, cancels=cancel, show=on_output)
        )
