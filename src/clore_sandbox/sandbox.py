"""`Sandbox`: a whole marketplace inside this process, in a thread of its own.

    with Sandbox() as sandbox:
        client = CloreAI(sandbox.api_key, base_url=sandbox.base_url)

Promises: once started it answers; once stopped no process of an order and no port of it is left.
All methods may be called from any thread; those that change the market return when it has changed.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import tempfile
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Optional, TypeVar, Union

import asyncssh
import uvloop

from clore_sandbox import books, orders
from clore_sandbox.app import Api, make_app
from clore_sandbox.clock import Clock
from clore_sandbox.faults import Faults
from clore_sandbox.http import make_server
from clore_sandbox.inventory import load
from clore_sandbox.journal import Journal
from clore_sandbox.limits import Limits
from clore_sandbox.market import Market
from clore_sandbox.money import COINS, from_units, to_units
from clore_sandbox.provision import KINDS, Nothing
from clore_sandbox.provision.kinds import make_rooms
from clore_sandbox.store import Store
from clore_sandbox.timetable import Timetable

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from decimal import Decimal
    from types import TracebackType

    from typing_extensions import Self

    from clore_sandbox.faults import FaultKind
    from clore_sandbox.journal import Entry
    from clore_sandbox.provision import Kind, Provisioner
    from clore_sandbox.shapes import Dialect
    from clore_sandbox.store import Tx

__all__ = ["DEFAULT_BALANCES", "Sandbox"]

T = TypeVar("T")
Amount = Union[int, float, str, "Decimal"]

#: Enough to rent a 4090 for a week or two in any of the coins.
DEFAULT_BALANCES: Mapping[str, float] = {
    "bitcoin": 0.01,
    "CLORE-Blockchain": 10_000,
    "USD-Blockchain": 100,
}
_START_TIMEOUT_S = 30


class Sandbox:
    """A local marketplace.

    Args:
        host: Address to listen on, for the API and for the orders' ports. 127.0.0.1 unless you
            know who can reach another one: renting runs commands as this user.
        port: 0 takes any free one.
        inventory: A captured `marketplace` body, or the path of one; None is the sample fleet.
        as_is: Leave a captured body as it is, without USD prices and `gpu_array` of today.
        dialect: `live` answers as the service does, `reference` as documents 002 and 004 say.
        db: A SQLite file that keeps the state; None keeps it in memory.
        api_key: The first account's key; None draws one (or takes the one in `db`).
        seed: Draws the sample fleet and the faults' chances.
        visibility_lag_s: Market seconds until a new order is seen in `my_orders`.
        boot_s: Market seconds more until its SSH answers.
        time_scale: Market seconds per second: limits, billing, lags all run by the market's clock.
        limits: Whether the service's rate limits bite.
        provision: Whether renting starts anything; without, orders have no ports.
        provisioner: How an order's room is fenced in: `process` not at all, `bwrap` by namespaces,
            `docker` by a container of the order's image. See docs/sandbox.md, Isolation.
        balances: The first account's coins; default `DEFAULT_BALANCES`.
        work_dir: Where the orders' rooms lie; default beside `db`, else a temporary folder.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        inventory: Union[str, Path, Mapping[str, object], None] = None,
        as_is: bool = False,
        dialect: Literal["live", "reference"] = "live",
        db: Union[str, Path, None] = None,
        api_key: Optional[str] = None,
        seed: int = 0,
        visibility_lag_s: float = 1.0,
        boot_s: float = 1.5,
        time_scale: float = 1.0,
        limits: bool = True,
        provision: bool = True,
        provisioner: Kind = "process",
        balances: Optional[Mapping[str, Amount]] = None,
        work_dir: Optional[Path] = None,
    ) -> None:
        if dialect not in ("live", "reference"):
            raise ValueError(f"dialect is live or reference, not {dialect!r}")
        if provisioner not in KINDS:
            raise ValueError(f"provisioner is {', '.join(KINDS)}, not {provisioner!r}")
        if visibility_lag_s < 0 or boot_s < 0:
            raise ValueError("visibility_lag_s and boot_s must not be negative")
        self.host = host
        self.instance = uuid.uuid4().hex
        self._port = port
        self._inventory = load(inventory, as_is=as_is, seed=seed)
        self._dialect: Dialect = dialect
        self._db = Path(db) if db is not None else None
        self._wanted_key = api_key
        self._balances = {
            coin: to_units(amount) for coin, amount in (balances or DEFAULT_BALANCES).items()
        }
        self._check_coins(self._balances)
        self._delays = orders.Delays(
            visible_ms=round(visibility_lag_s * 1000),
            connected_ms=round((visibility_lag_s + boot_s / 3) * 1000),
            booted_ms=round((visibility_lag_s + boot_s) * 1000),
        )
        self._time_scale = time_scale
        self._limits = Limits() if limits else None
        self._provision = provision
        self._provisioner_kind: Kind = provisioner
        self._work_dir = work_dir
        self._faults = Faults(seed)
        self._journal = Journal()
        self._thread: Optional[threading.Thread] = None
        self._api_key: Optional[str] = None

    @staticmethod
    def _check_coins(amounts: Mapping[str, object]) -> None:
        for coin in amounts:
            if coin not in COINS:
                raise ValueError(f"no such coin: {coin}; there are {', '.join(COINS)}")

    # -- running it ----------------------------------------------------------------------------

    def start(self) -> Self:
        """Start, and return once it answers."""
        if self._thread is not None:
            raise RuntimeError("this marketplace runs already")
        self._socket = socket.socket()
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((self.host, self._port))
            self._socket.listen(2048)
            self._store = Store(self._db)
        except OSError as exc:
            self._socket.close()
            reason = exc.strerror or str(exc)
            raise OSError(exc.errno, f"can't listen on {self.host}:{self._port}: {reason}") from exc
        except BaseException:
            self._socket.close()
            raise
        self._own_folder: Optional[Path] = None
        started = threading.Event()
        self._failure: Optional[BaseException] = None
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="clore-sandbox", daemon=True
        )
        self._thread.start()
        if not started.wait(_START_TIMEOUT_S) or self._failure is not None:
            failure, self._thread = self._failure, None
            raise RuntimeError("the marketplace did not start") from failure
        return self

    def _run(self, started: threading.Event) -> None:
        loop = uvloop.new_event_loop()
        try:
            loop.run_until_complete(self._serve(started))
        except BaseException as exc:  # noqa: BLE001 - raised again in the thread that started it
            self._failure = exc
        finally:
            _close_loop(loop)
        self._socket.close()
        self._store.close()
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder, ignore_errors=True)
        started.set()

    async def _serve(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = Clock(self._time_scale)
        known = await self._store.run(self._open_books)
        self._api_key = known["api_key"]
        self._clock.jump(max(0, int(known["clock_ms"]) - self._clock.now_ms()) / 1000)
        timetable = Timetable(self._clock)
        self._market = Market(
            self._store,
            self._clock,
            timetable,
            provisioner=self._provisioner(known),
            inventory=self._inventory,
            delays=self._delays,
        )
        await self._market.open()
        timetable.start()
        api = Api(self._market, self._faults, self._journal, self._dialect, self._limits)
        self._server = make_server(make_app(api, self.instance))
        self._server.config.load()
        self._server.lifespan = self._server.config.lifespan_class(self._server.config)
        await self._server.startup(sockets=[self._socket])
        started.set()
        try:
            await self._server.main_loop()
        finally:
            await self._server.shutdown(sockets=[self._socket])
            await self._market.close()
            now = str(self._clock.now_ms())
            await self._store.run(lambda tx: _put(tx, "clock_ms", now))

    def _open_books(self, tx: Tx) -> dict[str, str]:
        """The first account, and what names this state; made when the state is new."""
        known = {row["name"]: row["value"] for row in tx.all("SELECT name, value FROM meta")}
        if "state" not in known:
            known["state"] = uuid.uuid4().hex
            known["host_key"] = _new_host_key()
            known["api_key"] = books.create_account(tx, self._wanted_key, self._balances)
            known["clock_ms"] = "0"
        elif self._wanted_key is not None:
            if books.account_of(tx, self._wanted_key) is None:
                books.create_account(tx, self._wanted_key, self._balances)
            known["api_key"] = self._wanted_key
        # A marketplace that was killed could not note its time; its orders did.
        latest = tx.number("SELECT MAX(due_ms) - 60000 FROM orders")
        known["clock_ms"] = str(max(int(known["clock_ms"]), latest))
        for name, value in known.items():
            _put(tx, name, value)
        return known

    def _provisioner(self, known: Mapping[str, str]) -> Provisioner:
        if not self._provision:
            return Nothing()
        folder = self._work_dir
        if folder is None and self._db is not None:
            folder = self._db.with_name(self._db.name + ".rooms")
        if folder is None:
            folder = self._own_folder = Path(tempfile.mkdtemp(prefix="clore-sandbox-"))
        return make_rooms(
            self._provisioner_kind,
            folder.resolve(),
            state=known["state"],
            host=self.host,
            host_key=known["host_key"],
        )

    def stop(self) -> None:
        """End every order's processes and stop answering; the state in `db` stays."""
        thread = self._thread
        if thread is None:
            return
        self._server.should_exit = True
        thread.join()
        self._thread = None
        if self._failure is not None:
            raise RuntimeError("the marketplace failed") from self._failure

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        exc: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.stop()

    # -- where it is ---------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._thread is None:
            raise RuntimeError("this marketplace does not run")
        port: int = self._socket.getsockname()[1]
        return port

    @property
    def base_url(self) -> str:
        """Ends in `/v1`, as the service's does."""
        host = "127.0.0.1" if self.host == "0.0.0.0" else self.host  # noqa: S104 - compared
        return f"http://{host}:{self.port}/v1"

    @property
    def api_key(self) -> str:
        """The first account's key."""
        if self._api_key is None:
            raise RuntimeError("this marketplace has not been started")
        return self._api_key

    # -- what happens in it --------------------------------------------------------------------

    def _do(self, work: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def create_account(
        self, balances: Optional[Mapping[str, Amount]] = None, api_key: Optional[str] = None
    ) -> str:
        """A new account; its key."""
        units = {c: to_units(a) for c, a in (balances or DEFAULT_BALANCES).items()}
        self._check_coins(units)
        return self._store.call(lambda tx: books.create_account(tx, api_key, units))

    def _account(self, tx: Tx, key: Optional[str]) -> int:
        account = books.account_of(tx, key or self.api_key)
        if account is None:
            raise KeyError(f"no account has the key …{(key or '')[-4:]}")
        return account

    def wallet(self, key: Optional[str] = None) -> dict[str, Decimal]:
        """Exact coins of an account (default: the first), billed up to now."""
        account = self._store.call(lambda tx: self._account(tx, key))
        units = self._do(self._market.wallets(account))
        return {coin: from_units(amount) for coin, amount in units.items()}

    def top_up(self, key: Optional[str], coin: str, amount: Amount) -> None:
        """Add to an account's wallet (None: the first account's)."""
        self._check_coins({coin: amount})
        units = to_units(amount)
        self._store.call(lambda tx: books.top_up(tx, self._account(tx, key), coin, units))

    def set_rented(self, server_id: int, rented: bool) -> None:  # noqa: FBT001 - reads well as said
        """Somebody else rents a server, or gives it back."""
        self._known(server_id)
        self._do(self._market.set_rented(server_id, rented=rented))

    def set_online(self, server_id: int, online: bool) -> None:  # noqa: FBT001 - reads well as said
        """A host goes offline, and the rooms on it end; or it comes back, and they boot anew."""
        self._known(server_id)
        self._do(self._market.set_online(server_id, online=online))

    def _known(self, server_id: int) -> None:
        if self._market.record(server_id) is None:
            raise KeyError(f"no server {server_id} in this marketplace")

    def advance(self, seconds: float) -> None:
        """Jump the market's clock ahead, and bill what that makes due."""
        self._clock.jump(seconds)
        self._do(self._market.settle())

    def fault(
        self,
        endpoint: str,
        kind: FaultKind,
        *,
        times: Optional[int] = 1,
        key: Optional[str] = None,
        probability: float = 1.0,
        delay_s: Optional[float] = None,
    ) -> None:
        """Misbehave: see `faults.py` for the kinds. `times` None is until `clear_faults`."""
        self._faults.add(
            endpoint, kind, times=times, key=key, probability=probability, delay_s=delay_s
        )

    def clear_faults(self) -> None:
        """Misbehave no more."""
        self._faults.clear()

    def journal(self) -> list[Entry]:
        """Every request so far, oldest first."""
        return self._journal.entries()

    def reset(self) -> None:
        """All orders gone, servers and the first account's wallet as at the start, no faults."""
        self._faults.clear()
        self._do(self._market.reset(self.api_key, self._balances))
        self._journal.clear()
        if self._limits is not None:
            self._limits.forget()


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


def _new_host_key() -> str:
    # asyncssh leaves its keyword arguments untyped.
    key = asyncssh.generate_private_key("ssh-ed25519")  # pyright: ignore[reportUnknownMemberType]
    return key.export_private_key().decode()


def _put(tx: Tx, name: str, value: str) -> None:
    tx.do(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        name,
        value,
    )
