"""`Sandbox`: a whole marketplace inside this process, in a thread of its own.

    with Sandbox() as sandbox:
        client = CloreAI(sandbox.api_key, base_url=sandbox.base_url)

Promises: once started it answers; once stopped no process of an order and no port of it is left.
All methods may be called from any thread; those that change the market return when it has changed.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures.thread  # noqa: F401 # pyright: ignore[reportUnusedImport] - see `_stop_all`
import contextlib
import os
import secrets
import shutil
import tempfile
import threading
import uuid
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import uvloop

from clore_sandbox import options
from clore_sandbox.alive.crowd import Crowd
from clore_sandbox.books import orders
from clore_sandbox.control import Control, amounts
from clore_sandbox.control.guard import Guesses, Names
from clore_sandbox.control.handle import Controls
from clore_sandbox.control.http import ControlApi
from clore_sandbox.exposure import is_everywhere
from clore_sandbox.faults.faults import Faults
from clore_sandbox.faults.journal import Journal
from clore_sandbox.fleet.inventory import load
from clore_sandbox.http.app import Api, make_app
from clore_sandbox.http.gate import Gate, Windows
from clore_sandbox.http.server import HttpFront, listen
from clore_sandbox.market import Market
from clore_sandbox.market.clock import Clock, checked_speed
from clore_sandbox.market.timetable import Timetable
from clore_sandbox.opening import DEFAULT_BALANCES, Opening, note_time
from clore_sandbox.provision import Nothing
from clore_sandbox.provision.fence.kinds import make_rooms
from clore_sandbox.provision.place import Place, check_public_host, read_ports
from clore_sandbox.rules.limits import Limits
from clore_sandbox.store import Store, is_postgres
from clore_sandbox.workers.crew import Crew
from clore_sandbox.workers.messages import Setup, Step
from clore_sandbox.workers.shared_market import KeptMarket

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from types import TracebackType

    from typing_extensions import Self

    from clore_sandbox.api.order_shapes import Dialect
    from clore_sandbox.control import Amount
    from clore_sandbox.opening import Opened
    from clore_sandbox.provision import Kind, Provisioner

__all__ = ["DEFAULT_BALANCES", "Sandbox"]

T = TypeVar("T")

_START_TIMEOUT_S = 30


#: For a program that ends without stopping them: what runs for their orders is to end with it.
_RUNNING: weakref.WeakSet[Sandbox] = weakref.WeakSet()


def _stop_all() -> None:
    for sandbox in list(_RUNNING):
        with contextlib.suppress(Exception):  # there is nobody left to hear of it
            sandbox.stop()


# An end of the threading module, which comes before that of the executors that stopping needs;
# `atexit` comes after. The last one registered is called first.
getattr(threading, "_register_atexit", atexit.register)(_stop_all)


class Sandbox(Controls):
    """A local marketplace. What can be done to it besides is in `Controls`.

    Args:
        host: Address to listen on, for the API and for the orders' ports. 127.0.0.1 unless you
            know who can reach another one: renting runs commands as this user.
        port: 0 takes any free one.
        public_host: The name by which clients reach the orders' ports, where that is not `host`:
            what `pub_cluster` and `http_pub` say. Bind with `host` what it leads to.
        ports: First and last of the orders' public ports, so that a firewall or a container can
            let them through; None takes any free ones.
        inventory: A captured `marketplace` body, or the path of one; None is the sample fleet.
        as_is: Leave a captured body as it is, without USD prices and `gpu_array` of today.
        dialect: `live` answers as the service does, `reference` as documents 002 and 004 say.
        db: A SQLite file that keeps the state, or a PostgreSQL database (`postgresql://…`, which
            needs the extra `postgres`); None keeps it in memory.
        api_key: The first account's key; None draws one (or takes the one in `db`).
        seed: Draws the sample fleet and the faults' chances.
        visibility_lag_s: Market seconds until a new order is seen in `my_orders`.
        boot_s: Market seconds more until its SSH answers.
        time_scale: Market seconds per second: limits, billing, lags all run by the market's clock.
        limits: Whether the service's rate limits bite.
        control_key: The key of `/control` (see control/http.py); None draws one.
        provision: Whether renting starts anything; without, orders have no ports.
        provisioner: How an order's room is fenced in: `process` not at all, `bwrap` by namespaces,
            `docker` by a container of the order's image. See docs/sandbox.md, Isolation.
        balances: The first account's coins; default `DEFAULT_BALANCES`.
        alive: Whether simulated renters and hosts rent, bid, reprice and leave, drawn by `seed`.
        host_servers: How many servers the first account hosts: `MyGPU`, `MyGPU-2` …
        workers: How many processes answer the API; more than one need a PostgreSQL `db`.
        work_dir: Where the orders' rooms lie; default beside a `db` file, else a temporary folder.
    """

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
        options.check(
            host=host,
            dialect=dialect,
            provisioner=provisioner,
            port=port,
            delays_s=(visibility_lag_s, boot_s),
            host_servers=host_servers,
            workers=workers,
            db=db,
        )
        self.host = host
        self._place = Place(
            host,
            None if public_host is None else check_public_host(public_host),
            None if ports is None else read_ports(ports),
        )
        self.instance = uuid.uuid4().hex
        self._port = port
        self._inventory = load(inventory, as_is=as_is, seed=seed)
        self._dialect: Dialect = dialect
        self._db = db if db is None or is_postgres(db) else Path(db)
        self._opening = Opening(
            api_key,
            amounts(DEFAULT_BALANCES if balances is None else balances),
            host_servers,
            self._inventory,
        )
        self.control_key = control_key or secrets.token_urlsafe(24)
        self._delays = orders.Delays(
            visible_ms=round(visibility_lag_s * 1000),
            connected_ms=round((visibility_lag_s + boot_s / 3) * 1000),
            booted_ms=round((visibility_lag_s + boot_s) * 1000),
        )
        self._alive, self._seed = alive, seed
        self._time_scale = checked_speed(time_scale)
        self._limits = Limits() if limits else None
        self._provision = provision
        self._provisioner_kind: Kind = provisioner
        self._work_dir = work_dir
        self._workers = workers
        self._crew: Crew | None = None
        self._faults = Faults(seed)
        self._journal = Journal()
        self._thread: threading.Thread | None = None
        self._api_key: str | None = None
        self._running: Control | None = None
        self._process = os.getpid()

    # -- running it ----------------------------------------------------------------------------

    def start(self) -> Self:
        """Start, and return once it answers.

        Raises:
            OSError: The port, the file or the database cannot be had.
            ValueError: An option is no use.
            RuntimeError: It did not start, for the reason it gives.
        """
        if self._thread is not None:
            raise RuntimeError("this marketplace runs already")
        try:
            self._sockets = listen(self.host, self._port, count=self._workers)
        except (OSError, TypeError, UnicodeError) as exc:  # an odd name can't be encoded
            number, reason = getattr(exc, "errno", None), getattr(exc, "strerror", None)
            if ":" in self.host:
                reason = "only IPv4 addresses can be listened on"
            said = f"can't listen on {self.host}:{self._port}: {reason or exc}"
            raise OSError(number, said) from exc
        try:
            self._store = Store(self._db)
        except BaseException:
            self._close_sockets()
            raise
        #: Where rooms lie: for this run alone, or for all that serve this database.
        self._own_folder: Path | None = None
        self._made_folder: Path | None = None
        started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="clore-sandbox", daemon=True
        )
        self._process = os.getpid()
        _RUNNING.add(self)
        self._thread.start()
        if not started.wait(_START_TIMEOUT_S):
            raise RuntimeError(f"the marketplace did not start within {_START_TIMEOUT_S} s")
        self._raise_failure()
        return self

    def _raise_failure(self) -> None:
        failure = self._failure
        if failure is None:
            return
        self._thread = None
        # These say what is wrong to whoever wants it to run; others are faults of ours.
        if isinstance(failure, (OSError, RuntimeError, ValueError)):
            raise failure
        raise RuntimeError(f"the marketplace failed: {failure!r}") from failure

    def _run(self, started: threading.Event) -> None:
        loop = uvloop.new_event_loop()
        try:
            loop.run_until_complete(self._serve(started))
        except BaseException as exc:  # noqa: BLE001 - raised again in the thread that started it
            self._failure = exc
        finally:
            _close_loop(loop)
        self._close_sockets()
        self._store.close()
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder, ignore_errors=True)
        if self._made_folder is not None:
            with contextlib.suppress(OSError):  # somebody's room is in it, for the next to take up
                self._made_folder.rmdir()
        started.set()

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            sock.close()

    async def _serve(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._clock = Clock(self._time_scale)
        try:
            opened = await self._store.run(self._opening.open)
        except (OSError, RuntimeError, ValueError):
            raise
        except Exception as exc:  # the database's own: its file is damaged
            raise self._store.unusable(exc) from exc
        self._api_key = opened.api_key
        self._clock.jump_to(opened.clock_ms)
        timetable = Timetable(self._clock)
        market = KeptMarket if self._workers > 1 else Market
        self._market = market(
            self._store,
            self._clock,
            timetable,
            provisioner=self._provisioner(opened),
            inventory=self._inventory,
            delays=self._delays,
        )
        self._market.draw_crowd = self._crowd if self._alive else None
        pace = Windows(self._limits)
        gate = Gate(self._market, pace)
        api = Api(self._market, self._faults, self._journal, self._dialect, gate)
        control = self._running = Control(
            self._market,
            faults=self._faults,
            journal=self._journal,
            limits=self._limits,
            api_key=opened.api_key,
            first_account=self._opening.first_account,
            balances=amounts(DEFAULT_BALANCES),
        )
        names = Names({self.host, self._place.shown}, everywhere=is_everywhere(self.host))
        guesses = Guesses(self.control_key)
        app = make_app(api, ControlApi(control, guesses, names, self.instance, _document))
        front: HttpFront | Crew = HttpFront(app, self._sockets[0])
        if isinstance(self._market, KeptMarket):
            front = self._crew = Crew(
                self._sockets,
                market=self._market,
                app=app,
                pace=pace,
                journal=self._journal,
                setup=self._setup,
            )
        await self._market.open()
        timetable.start()
        try:
            await front.open()
            started.set()
            front.failed.add_done_callback(lambda _: self._stopping.set())
            await self._stopping.wait()
        finally:
            await front.close()
            await self._market.close()
            now_ms = self._clock.now_ms()
            await self._store.run(lambda tx: note_time(tx, now_ms))
        if front.failed.done():
            await front.failed

    def _setup(self) -> Setup:
        return Setup(
            db=str(self._db),
            dialect=self._dialect,
            delays=self._delays,
            rates=self._inventory.rates,
            limited=self._limits is not None,
            step=Step(self._clock.course(), bool(self._faults.waiting())),
        )

    @property
    def _control(self) -> Control:
        if self._thread is None or self._running is None:
            raise RuntimeError("this marketplace does not run: start it first")
        if self._process != os.getpid():
            raise RuntimeError(
                f"this marketplace runs in process {self._process}; from another one its controls "
                f"are at {self.control_url}"
            )
        return self._running

    def _do(self, work: Coroutine[object, object, T]) -> T:
        crew = self._crew
        if crew is None:
            return super()._do(work)

        async def in_step() -> T:
            # Before, so that the journal is whole; after, so that all workers know what is new.
            await crew.in_step(always=True)
            value = await work
            await crew.in_step()
            return value

        return super()._do(in_step())

    def _crowd(self) -> Crowd:
        renters = max(10, len(self._inventory.records) // 5)
        return Crowd(self._seed, renters, self._inventory.rates)

    def _provisioner(self, opened: Opened) -> Provisioner:
        if not self._provision:
            return Nothing()
        folder = self._work_dir
        if folder is None and isinstance(self._db, Path):
            folder = self._db.with_name(self._db.name + ".rooms")
        if folder is None and self._db is not None:
            # Found again by whoever next serves this database on this machine.
            folder = Path(tempfile.gettempdir(), f"clore-sandbox-{opened.state}")
        self._made_folder = folder if self._work_dir is None else None
        if folder is None:
            folder = self._own_folder = Path(tempfile.mkdtemp(prefix="clore-sandbox-"))
        return make_rooms(
            self._provisioner_kind,
            folder.resolve(),
            state=opened.state,
            keep=self._own_folder is None,
            place=self._place,
            host_key=opened.host_key,
        )

    def stop(self) -> None:
        """End every order's processes and stop answering; the state in `db` stays."""
        thread = self._thread
        # Where a process was forked, it is its parent's to stop.
        if thread is None or self._process != os.getpid():
            return
        with contextlib.suppress(RuntimeError):  # its loop has ended already, by a failure
            self._loop.call_soon_threadsafe(self._stopping.set)
        thread.join()
        self._thread = None
        self._raise_failure()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # -- where it is ---------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._thread is None:
            raise RuntimeError("this marketplace does not run")
        port: int = self._sockets[0].getsockname()[1]
        return port

    @property
    def base_url(self) -> str:
        """Ends in `/v1`, as the service's does."""
        host = "127.0.0.1" if self.host == "0.0.0.0" else self.host  # noqa: S104 - compared
        return f"http://{host}:{self.port}/v1"

    @property
    def control_url(self) -> str:
        """Where the controls are: `POST {control_url}/jump` and the like, with `control_key`."""
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


def _close_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Let what is still open end, as asyncio.run does (asyncio.Runner needs Python 3.11)."""

    async def cancel_rest() -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    loop.run_until_complete(cancel_rest())
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def _document() -> bytes:
    from clore_sandbox import openapi

    return openapi.served()
