"""`AsyncCalls`: a method for each call of the service (004). The work is in `clore_ai.rental`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from typing_extensions import Self

from clore_ai import models
from clore_ai._api import endpoints
from clore_ai._api.order_request import OrderRequest
from clore_ai._api.steps import Flow, local, request
from clore_ai._client_base import ClientBase, in_this_loop, warn_per_hour
from clore_ai._io.async_driver import AsyncDriver
from clore_ai._values.secrets import hide
from clore_ai.jobs.engine import Engine
from clore_ai.rental import orders, spot
from clore_ai.rental.market import listing

T = TypeVar("T")


class AsyncCalls(ClientBase[AsyncDriver]):
    """A client with the calls of the service, and the driver that performs them."""

    _kind = AsyncDriver

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the HTTP connections and the files of the state folder."""
        await self.drive(local(self._session.close))
        for driver in (*self._former, self._driver):
            await driver.close()

    async def drive(self, flow: Flow[T]) -> T:
        """Run a flow of `clore_ai.rental` and return its result."""
        return await self._driver.run(flow)

    async def in_loop(self, work: Callable[[Engine], Awaitable[T]]) -> T:
        """The result of `work`, which watches a job (`clore_ai.jobs`), in an event loop."""
        return await in_this_loop(self._driver, self._engine, work)

    async def wallets(self) -> list[models.Wallet]:
        """The account's wallets. `balance` is in the wallet's own coin, or None (004, wallets).

        Raises:
            AuthError: no key, or an unknown one.
        """
        return await self.drive(orders.reconcile.wallets(self._session))

    async def marketplace(
        self,
        gpu: str | None = None,
        min_gpu_count: int | None = None,
        min_ram_gb: float | None = None,
        max_price_usd: float | None = None,
        available_only: bool = True,
    ) -> list[models.MarketplaceServer]:
        """Servers for rent, filtered here: the service returns all of them. Needs no key.

        Args:
            gpu: a part of the GPU's name, e.g. ``"RTX 4090"``; case does not matter.
            min_gpu_count: the fewest GPUs of a server.
            min_ram_gb: the least memory, in GB.
            max_price_usd: USD per **hour** for the whole server, on-demand, without the renter's
                fee. A server whose price in USD is unknown is omitted.
            available_only: omit rented servers.

        Simultaneous calls share one request (004, marketplace; service.md, 2-3).
        """
        if max_price_usd is not None:
            warn_per_hour()
        wanted = listing.Filter(gpu, min_gpu_count, min_ram_gb, max_price_usd, available_only)
        found = await self.drive(listing.marketplace(self._session, wanted))
        return found.servers

    async def my_servers(self) -> list[models.MyServer]:
        """The servers that the user hosts; unconnected ones have no `id` (004, my_servers)."""
        return await self.drive(request(endpoints.my_servers(), self._session.rules))

    async def server_config(self, server_name: str) -> models.ServerConfig:
        """The settings of one hosted server (004, server_config).

        Raises:
            FieldError: there is no such server.
        """
        return await self.drive(request(endpoints.server_config(server_name), self._session.rules))

    async def my_orders(self, include_completed: bool = False) -> list[models.Order]:
        """The user's rentals; with `include_completed` also those that ended (004, my_orders)."""
        flow = orders.reconcile.orders(self._session, include_completed=include_completed)
        return await self.drive(flow)

    async def create_order(
        self,
        server_id: int,
        image: str,
        type: models.OrderType,  # noqa: A002 - 004's word
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
    ) -> models.Order:
        """Rent a server: one order, whatever happens to the answer. Returns the order.

        The service's answer does not name the order, so the order is looked up in `my_orders`,
        which takes some seconds (service.md, 3). SSH answers later: see `wait_for_ssh`.

        Args:
            server_id: from `marketplace`.
            image: Docker image; the service does not check that it exists.
            type: ``"on-demand"`` or ``"spot"``.
            currency: ``"bitcoin"``, ``"CLORE-Blockchain"`` or ``"USD-Blockchain"``; the server's
                `allowed_coins` decide.
            ssh_password: up to 32 characters; with or without `ssh_key`.
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
            client_ref: your name for this rental. A second call with it returns the same order;
                with `state`, also in other processes and after restarts.
            purpose: what the order is for; the ledger keeps it.
            lease_h: hours after which ``clore`` ends the order (with `state`; docs/spending.md);
                None for no end.
            max_cost_usd: the cost in USD, fees included, at which ``clore`` ends the order.

        Raises:
            InvalidInputError: the input is refused, here or by the service; nothing was rented.
            AuthError: no key, or an unknown one.
            FieldError: refused, e.g. ``server-already-rented``; nothing was rented.
            BudgetError: over a budget of the ledger (``clore budget``); nothing was rented.
            RateLimitError: still refused after `max_retries` waits; nothing was rented.
            OrderUncertain: an order may exist; check `my_orders` before you try again.
        """
        ssh_password, ssh_key = hide(ssh_password), hide(ssh_key)
        jupyter_token, env, command = hide(jupyter_token), hide(env), hide(command)
        dockerhub_auth = hide(dockerhub_auth)
        wanted = OrderRequest(
            server_id, image, type, currency, ssh_password, ssh_key, ports, env, jupyter_token,
            command, spot_price, required_price, autossh_entrypoint, dockerhub_auth,
            remember_password,
        )  # fmt: skip
        terms = orders.create.terms(client_ref, purpose, lease_h, max_cost_usd)
        return await self.drive(orders.create.create(self._session, wanted, terms))

    async def cancel_order(self, order_id: int, issue: str | None = None) -> dict[str, Any]:
        """End a rental; `issue`, up to 2,048 characters, is for the host (004, cancel_order).

        Billing stops within about a minute (service.md, 4). The request is sent again if an answer
        is lost.

        Raises:
            FieldError: ``you_dont_own_this_order`` or ``order_not_active``.
        """
        return await self.drive(orders.cancel.cancel(self._session, order_id, issue))

    async def spot_marketplace(self, server_id: int) -> models.SpotMarket:
        """The spot auction of one server; bids are in coin per **day** (004, spot_marketplace)."""
        return await self.drive(request(endpoints.spot_marketplace(server_id), self._session.rules))

    async def set_spot_price(self, order_id: int, price: float) -> dict[str, Any]:
        """Change a spot bid to `price`, in the order's coin per **day** (004, set_spot_price).

        Raising is free. A bid that this client lowered can't be lowered again within 600 s: the
        service would refuse it, so nothing is sent.

        Raises:
            FieldError: e.g. ``can_lower_every_600_seconds`` or ``exceeded_max_step``.
        """
        return await self.drive(spot.set_price.set_price(self._session, order_id, price))

    async def set_server_settings(
        self,
        name: str,
        availability: bool | None = None,
        mrl: int | None = None,
        on_demand: float | None = None,
        spot: float | None = None,
    ) -> dict[str, Any]:
        """Change a hosted server's settings; None leaves a setting unchanged (004).

        Args:
            name: the server's name.
            availability: can it be rented?
            mrl: **maximum** rental length in hours (service.md, 2; 004 says minimum).
            on_demand: price per **day**, in bitcoin.
            spot: lowest bid per **day**, in bitcoin.

        Raises:
            FieldError: e.g. ``server_dont_exist`` or ``invalid_mrl``.
        """
        flow = orders.host_settings.set_settings(
            self._session, name, availability=availability, mrl=mrl, on_demand=on_demand, spot=spot
        )
        return await self.drive(flow)
