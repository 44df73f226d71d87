"""`AsyncCloreAI`: the calls of the service, and what is built on them. The work is below."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from typing_extensions import Unpack

from clore_ai import jobs
from clore_ai._async.records import AsyncRecords
from clore_ai._async.rental import AsyncRental
from clore_ai._gpu_feeds import watching
from clore_ai._values.secrets import hide
from clore_ai.jobs import Job
from clore_ai.models import MarketplaceServer, Order
from clore_ai.models.records import RentEvent
from clore_ai.rental import options
from clore_ai.rental.market import listing
from clore_ai.rental.orders import wait
from clore_ai.rental.spot import autopilot
from clore_ai.rental.spot.run import SpotReport
from clore_ai.rental.watch import market
from clore_ai.rental.watch import view as overview
from clore_ai.rental.watch.view import OrdersView


class AsyncCloreAI(AsyncRecords):
    """A client of the Clore.ai marketplace for asyncio (004, `AsyncCloreAI`).

    One object serves any number of tasks of one event loop.
    Requests are paced and sent again by these rules:

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

    @options.documented(options.RentOptions)
    def rent(
        self,
        gpu: str | Sequence[str] | None = None,
        *,
        on_event: Callable[[RentEvent], object] | None = None,
        **given: Unpack[options.RentOptions],
    ) -> AsyncRental:
        """The best server that fits, rented and verified, for as long as a ``with`` block lasts.

        Nothing is asked of the service before the block is entered. Leaving it cancels the order,
        whatever the way out. Best is what really costs least, fees in; a server that does not turn
        out good within `boot_deadline` is cancelled, held against its host, and the next is taken.

        Args:
            gpu: a part of the GPU's name, e.g. ``"RTX 4090"``, or several, any of which will do.
            on_event: called with each event on the way, see `clore_ai.models.records.RentEvent`.
            given: see `RentOptions`.

        On entering it raises:
            NoOffer: no server fits; carries which condition left how many, and what would match.
            RentFailed: none that was tried was good; carries each reason. Nothing of it runs.
            BudgetError: over a budget or `max_cost_usd`; nothing runs.
            OrderUncertain: an order may exist; none other was rented after it.
            WaitTimeout: the end of a rejected order could not be confirmed; carries the order.

        Raises:
            InvalidInputError: the input makes no sense; nothing was sent.
        """
        return AsyncRental(self._driver, self._session, options.wished(gpu, given), on_event)

    @options.documented(options.SpotOptions)
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
        order_id: int | None = None,
        *,
        gpu: str | Sequence[str] | None = None,
        rent: options.RentOptions | None = None,
        folder: str | Path = ".",
        outputs: Sequence[str] = (),
        env: dict[str, str] | None = None,
        setup: str | None = None,
        cancel: bool | None = None,
        detach: bool = False,
        retry_on_host_loss: bool = False,
        on_output: Callable[[bytes], object] | None = None,
        on_message: Callable[[str], object] | None = None,
        upload: bool = True,
        send_secrets: Sequence[str] = (),
        max_upload: str = jobs.MOST,
        yes_really: bool = False,
        forwards: Sequence[str] = (),
        fetch_every_s: float = 10.0,
        lost_after_s: float = 300.0,
        max_output: str = jobs.MOST_OUTPUT,
    ) -> Job:
        """Run a command on an order, or on a machine rented for it; the job's record.

        As ``clore run``: the folder is uploaded, the command runs, its output streams, the outputs
        come back. `code` in the record is the command's own exit code. A dropped connection does
        not end the job, and is made again. The order's limits and spot bid are kept meanwhile. The
        jobs' records and logs are in the state folder (docs/run.md).

        Args:
            command: one text is a line for the shell there; of several each is quoted.
            order_id: where it runs; its SSH is waited for. None: the best server that fits `gpu`
                and `rent` is rented, as `rent` does it, and cancelled at the end.
            gpu: a part of the name of the GPU to rent, or several, any of which will do.
            rent: the other conditions, e.g. ``{"max_price_usd": 0.5, "max_cost_usd": 2}``.
            folder: the working folder; what git ignores, or a ``.cloreignore``, stays here.
            outputs: folders or files in it that come back while it runs and at the end.
            env: variables; in no record, and on no command line.
            setup: a line to run before, or a file of requirements (``….txt``).
            cancel: cancel the order in the end, whichever way it ends; None: if it was rented here.
            detach: return once the job runs. A process in the background watches it to its end.
            retry_on_host_loss: if the rented machine is lost, begin again on another one, with the
                outputs so far; `max_cost_usd` is for all of them.
            on_output: takes what the job writes, as it comes; standard output and errors in one.
            on_message: called with each sentence that ``clore run`` would print.
            upload: upload the folder.
            send_secrets: files that look like secrets and may be uploaded, or folders of such,
                below the working folder.
            max_upload: the most that may be uploaded, e.g. ``2GB``.
            yes_really: `folder` may hold your home folder, or the state folder, which itself is
                never uploaded.
            forwards: ports of the job that become this machine's: ``PORT`` or ``HERE:THERE``.
            fetch_every_s: how often outputs are fetched while the job runs, in seconds.
            lost_after_s: the machine is lost if its SSH is silent for so long, in seconds, while
                the service answers.
            max_output: what the outputs may hold in all, e.g. ``200GB``; more is not fetched.

        Raises:
            InvalidInputError: it can't be run so, or a secret or too much would be uploaded;
                nothing was sent or rented, and the order stays.
            NoOffer, RentFailed, BudgetError, OrderUncertain: there is no machine, as in `rent`.
            LimitReached: the order's lease is over, or it has cost all that it may: the job was
                stopped, its outputs fetched, and the order cancelled.
            CloreAPIError: it could not be done; `state` of the record says how far it came.
        """
        words = [command] if isinstance(command, str) else command
        consent = jobs.Consent.of(send_secrets, max_upload, really=yes_really)
        spec = jobs.checked(words, Path(folder), outputs, hide(env), setup, forwards, consent)
        plan = jobs.planned(
            order_id, gpu, rent, cancel=cancel, detach=detach, retries=retry_on_host_loss,
            fetch_every_s=fetch_every_s, lost_after_s=lost_after_s, max_output=max_output,
        )  # fmt: skip
        hearing = jobs.Hearing.of(on_output, on_message)
        return await self.in_loop(
            lambda engine: jobs.run(engine, spec, plan, hearing, upload=upload)
        )
