"""`Sandbox`: a whole marketplace inside this process, in its own thread.

    with Sandbox() as sandbox:
        client = CloreAI(sandbox.api_key, base_url=sandbox.base_url)

Promises: after `start` it answers; after `stop` no process and no port of any order is left. All
methods may be called from any thread; those that change the market return once it has changed.
"""

from __future__ import annotations

import os
import secrets
import uuid
from typing import TYPE_CHECKING, Literal, TypeVar

from clore_sandbox.control import amounts
from clore_sandbox.control.blocking import Controls
from clore_sandbox.faults.faults import Faults
from clore_sandbox.faults.journal import Journal
from clore_sandbox.fleet.inventory import load
from clore_sandbox.market.clock import checked_speed
from clore_sandbox.opening import DEFAULT_BALANCES, Opening
from clore_sandbox.provision.address import PublicAddress, check_public_host, read_ports
from clore_sandbox.rules.limits import Limits
from clore_sandbox.running import Run
from clore_sandbox.settings import Settings, checked_db, delays_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from clore_sandbox.control import Amount, Control
    from clore_sandbox.provision import Kind

__all__ = ["DEFAULT_BALANCES", "Sandbox"]

T = TypeVar("T")


class Sandbox(Controls):
    """A local marketplace. `Controls` lists what a test may change in it.

    Args:
        host: Address to listen on, for the API and for the orders' ports. Use another one than
            127.0.0.1 only if you know who can reach it: renting runs commands as this user.
        port: 0 takes any free port.
        public_host: Host name that `pub_cluster` and `http_pub` show, if clients reach the orders'
            ports by another name than `host`.
        ports: First and last of the orders' public ports, so that a firewall or a container can
            let them through; None takes any free ports.
        inventory: A captured `marketplace` body, or its path; None: the sample fleet.
        as_is: Serve a captured body unchanged, without adding USD prices and `gpu_array`.
        dialect: `live` answers as the service does, `reference` as documents 002 and 004 say.
        db: A SQLite file that keeps the state, or a PostgreSQL database (`postgresql://…`, which
            needs the extra `postgres`); None keeps it in memory.
        api_key: The first account's key; None: the one in `db`, or a random one.
        seed: Seed of the sample fleet, the faults' probabilities and a living market.
        visibility_lag_s: Market seconds until `my_orders` lists a new order.
        boot_s: Further market seconds until its SSH answers.
        time_scale: Market seconds per second: limits, billing and delays follow the market's clock.
        limits: Whether the service's rate limits apply.
        control_key: The key of `/control` (see control/http.py); None: a random one.
        provision: Whether renting starts anything; if not, orders have no ports.
        provisioner: How an order's room is isolated: `process` not at all, `bwrap` by namespaces,
            `docker` by a container of the order's image. See docs/sandbox.md, Isolation.
        balances: The first account's coins; None: `DEFAULT_BALANCES`.
        alive: Whether simulated renters and hosts rent, bid, change prices and leave.
        host_servers: How many servers the first account hosts: `MyGPU`, `MyGPU-2` …
        workers: How many processes answer the API; more than one need a PostgreSQL `db`.
        work_dir: Folder of the orders' rooms; None: beside a `db` file, else a temporary folder.
    """

    _run_type: type[Run] = Run

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        public_host: str | None = None,
        ports: tuple[int, int] | None = None,
        inventory: str | Path | Mapping[str, object] | None = None,
        as_is: bool = False,
        dialect: Literal["live", "reference"] = "live",
        db: str | Path | None = None,
        api_key: str | None = None,
        seed: int = 0,
        visibility_lag_s: float = 1.0,
        boot_s: float = 1.5,
        time_scale: float = 1.0,
        limits: bool = True,
        provision: bool = True,
        provisioner: Kind = "process",
        balances: Mapping[str, Amount] | None = None,
        alive: bool = False,
        host_servers: int = 0,
        work_dir: Path | None = None,
        control_key: str | None = None,
        workers: int = 1,
    ) -> None:
        self.host = host
        self.instance = uuid.uuid4().hex
        self.control_key = control_key or secrets.token_urlsafe(24)
        fleet = load(inventory, as_is=as_is, seed=seed)
        self._settings = Settings(
            host=host,
            port=port,
            address=PublicAddress(
                host,
                None if public_host is None else check_public_host(public_host),
                None if ports is None else read_ports(ports),
            ),
            inventory=fleet,
            dialect=dialect,
            db=checked_db(db),
            opening=Opening(
                api_key,
                amounts(DEFAULT_BALANCES if balances is None else balances),
                host_servers,
                fleet,
            ),
            instance=self.instance,
            control_key=self.control_key,
            delays=delays_of(visibility_lag_s, boot_s),
            alive=alive,
            seed=seed,
            time_scale=checked_speed(time_scale),
            provisioner=provisioner if provision else None,
            work_dir=work_dir,
            workers=workers,
            limits=Limits() if limits else None,
            faults=Faults(seed),
            journal=Journal(),
        )
        self._run: Run | None = None
        self._api_key: str | None = None

    def start(self) -> Self:
        """Start, and return once it answers.

        Raises:
            OSError: The port, the file or the database cannot be used.
            ValueError: An option is invalid.
            RuntimeError: It runs already, or it did not start; the message says why.
        """
        if self._run is not None:
            raise RuntimeError("this marketplace runs already")
        self._run = self._run_type(self._settings)
        self._api_key = self._run.api_key
        return self

    def stop(self) -> None:
        """End every order's processes and stop answering; the state in `db` stays."""
        run = self._run
        # After a fork, the marketplace is the parent's to stop.
        if run is None or run.process != os.getpid():
            return
        self._run = None
        run.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _do(self, work: Callable[[Control], Coroutine[object, object, T]]) -> T:
        run = self._run
        if run is None:
            raise RuntimeError("this marketplace does not run: start it first")
        if run.process != os.getpid():
            raise RuntimeError(
                f"this marketplace runs in process {run.process}; from another one its controls "
                f"are at {self.control_url}"
            )
        return run.do(work)

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._run is None:
            raise RuntimeError("this marketplace does not run")
        return self._run.port

    @property
    def base_url(self) -> str:
        """Ends in `/v1`, like the service's."""
        host = "127.0.0.1" if self.host == "0.0.0.0" else self.host  # noqa: S104 - compared
        return f"http://{host}:{self.port}/v1"

    @property
    def control_url(self) -> str:
        """URL of the controls: `POST {control_url}/jump` and the like, with `control_key`."""
        return self.base_url.removesuffix("/v1") + "/control"

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which the SDK, the CLI and any other program find it."""
        return {
            "CLORE_BASE_URL": self.base_url,
            "CLORE_API_KEY": self.api_key,
            "CLORE_CONTROL_URL": self.control_url,
            "CLORE_CONTROL_KEY": self.control_key,
        }

    @property
    def api_key(self) -> str:
        """The first account's key."""
        if self._api_key is None:
            raise RuntimeError("this marketplace has not been started")
        return self._api_key
