"""`Run`: a marketplace from start to stop, with its thread, event loop, store and sockets."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures.thread  # noqa: F401 # pyright: ignore[reportUnusedImport] - see `_stop_all`
import contextlib
import os
import shutil
import tempfile
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import uvloop

from clore_sandbox.alive.crowd import Crowd
from clore_sandbox.control import Control, Parts, amounts
from clore_sandbox.control.guard import Guesses, Names
from clore_sandbox.control.http import ControlApi
from clore_sandbox.exposure import is_everywhere
from clore_sandbox.http.app import Api, make_app
from clore_sandbox.http.gate import Gate, Windows
from clore_sandbox.http.server import HttpFront, listen
from clore_sandbox.market import Market
from clore_sandbox.market.clock import Clock
from clore_sandbox.market.timetable import Timetable
from clore_sandbox.opening import DEFAULT_BALANCES, note_time
from clore_sandbox.provision import Nothing
from clore_sandbox.provision.fence.builders import make_rooms
from clore_sandbox.store import Store
from clore_sandbox.workers.messages import Setup, Step
from clore_sandbox.workers.pool import WorkerPool
from clore_sandbox.workers.shared_market import KeptMarket

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine

    from clore_sandbox.opening import Opened
    from clore_sandbox.provision import Provisioner
    from clore_sandbox.settings import Settings

__all__ = ["Run"]

T = TypeVar("T")

_START_TIMEOUT_S = 30

_RUNNING: weakref.WeakSet[Run] = weakref.WeakSet()
"""For a program that exits without stopping them: the processes of their orders end with it."""


def _stop_all() -> None:
    for run in list(_RUNNING):
        with contextlib.suppress(Exception):  # the program exits: nobody can handle it
            run.stop()


# The threading module's exit callbacks run before those of the executors that stopping needs;
# `atexit` runs after them. The last one registered is called first.
getattr(threading, "_register_atexit", atexit.register)(_stop_all)


class Run:
    """One run of a marketplace. Starts when it is created, and then answers requests.

    Raises:
        OSError: The port, the file or the database cannot be used.
        ValueError: An option is invalid.
        RuntimeError: The marketplace did not start; the message says why.
    """

    api_key: str
    _loop: asyncio.AbstractEventLoop
    _stopping: asyncio.Event
    _clock: Clock
    _control: Control

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sockets = _listen(settings)
        try:
            self.store = Store(settings.db)
        except BaseException:
            self._close_sockets()
            raise
        self.pool: WorkerPool | None = None
        self.own_folder: Path | None = None
        """The rooms' folder of this run alone, removed when it stops."""
        self._shared_folder: Path | None = None
        """The rooms' folder of every run that serves this database."""
        self._failure: BaseException | None = None
        self.process = os.getpid()
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(started,), name="clore-sandbox", daemon=True
        )
        _RUNNING.add(self)
        self._thread.start()
        if not started.wait(_START_TIMEOUT_S):
            raise RuntimeError(f"the marketplace did not start within {_START_TIMEOUT_S} s")
        self._raise_failure()

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self._sockets[0].getsockname()[1]
        return port

    def do(self, work: Callable[[Control], Coroutine[object, object, T]]) -> T:
        """Run a control on the event loop, from any thread, and return its result."""
        pool = self.pool

        async def in_step(pool: WorkerPool) -> T:
            # Before, so that the journal is complete; after, so that every worker has the change.
            await pool.in_step(always=True)
            value = await work(self._control)
            await pool.in_step()
            return value

        working = work(self._control) if pool is None else in_step(pool)
        return asyncio.run_coroutine_threadsafe(working, self._loop).result()

    def stop(self) -> None:
        """End every order's processes and stop answering; the state in `db` stays.

        In a forked process it does nothing: the marketplace is the parent's.
        """
        if self.process != os.getpid():
            return
        with contextlib.suppress(RuntimeError):  # the loop has already ended with a failure
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._raise_failure()

    def _raise_failure(self) -> None:
        failure = self._failure
        if failure is None:
            return
        # These explain to the user what is wrong; all others are bugs.
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
        self.store.close()
        if self.own_folder is not None:
            shutil.rmtree(self.own_folder, ignore_errors=True)
        if self._shared_folder is not None:
            with contextlib.suppress(OSError):  # a room in it stays for the next run
                self._shared_folder.rmdir()
        started.set()

    def _close_sockets(self) -> None:
        for sock in self._sockets:
            sock.close()

    async def _serve(self, started: threading.Event) -> None:
        settings = self._settings
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._clock = Clock(settings.time_scale)
        try:
            opened = await self.store.run(settings.opening.open)
        except (OSError, RuntimeError, ValueError):
            raise
        except Exception as exc:  # the database's own: its file is damaged
            raise self.store.unusable(exc) from exc
        self.api_key = opened.api_key
        self._clock.jump_to(opened.clock_ms)
        self.market = self._market(opened)
        front = self._front(opened)
        await self.market.open()
        self.market.timetable.start()
        try:
            await front.open()
            started.set()
            front.failed.add_done_callback(lambda _: self._stopping.set())
            await self._stopping.wait()
        finally:
            await front.close()
            await self.market.close()
            now_ms = self._clock.now_ms()
            await self.store.run(lambda tx: note_time(tx, now_ms))
        if front.failed.done():
            await front.failed

    def _market(self, opened: Opened) -> Market:
        settings = self._settings
        make = KeptMarket if settings.workers > 1 else Market
        return make(
            self.store,
            self._clock,
            Timetable(self._clock),
            provisioner=self._provisioner(opened),
            inventory=settings.inventory,
            delays=settings.delays,
            draw_crowd=self._crowd if settings.alive else None,
        )

    def _front(self, opened: Opened) -> HttpFront | WorkerPool:
        """The API and the controls over HTTP, in this process or in workers."""
        settings = self._settings
        pace = Windows(settings.limits)
        gate = Gate(self.market, pace)
        api = Api(self.market, settings.faults, settings.journal, settings.dialect, gate)
        self._control = Control(
            Parts(
                self.market,
                settings.faults,
                settings.journal,
                settings.limits,
                opened.api_key,
                settings.opening.first_account,
                amounts(DEFAULT_BALANCES),
            )
        )
        names = Names(
            {settings.host, settings.address.shown}, everywhere=is_everywhere(settings.host)
        )
        guesses = Guesses(settings.control_key)
        app = make_app(api, ControlApi(self._control, guesses, names, settings.instance, _document))
        if not isinstance(self.market, KeptMarket):
            return HttpFront(app, self._sockets[0])
        self.pool = WorkerPool(
            self._sockets,
            market=self.market,
            app=app,
            pace=pace,
            journal=settings.journal,
            setup=self._setup,
        )
        return self.pool

    def _setup(self) -> Setup:
        settings = self._settings
        return Setup(
            db=str(settings.db),
            dialect=settings.dialect,
            delays=settings.delays,
            rates=settings.inventory.rates,
            limited=settings.limits is not None,
            step=Step(self._clock.course(), bool(settings.faults.waiting())),
        )

    def _crowd(self) -> Crowd:
        inventory = self._settings.inventory
        return Crowd(self._settings.seed, max(10, len(inventory.records) // 5), inventory.rates)

    def _provisioner(self, opened: Opened) -> Provisioner:
        settings = self._settings
        if settings.provisioner is None:
            return Nothing()
        folder = settings.work_dir
        if folder is None and isinstance(settings.db, Path):
            folder = settings.db.with_name(settings.db.name + ".rooms")
        if folder is None and settings.db is not None:
            # The next run that serves this database on this machine finds it.
            folder = Path(tempfile.gettempdir(), f"clore-sandbox-{opened.state}")
        self._shared_folder = folder if settings.work_dir is None else None
        if folder is None:
            folder = self.own_folder = Path(tempfile.mkdtemp(prefix="clore-sandbox-"))
        return make_rooms(
            settings.provisioner,
            folder.resolve(),
            state=opened.state,
            keep=self.own_folder is None,
            address=settings.address,
            host_key=opened.host_key,
        )


def _listen(settings: Settings) -> list[socket.socket]:
    try:
        return listen(settings.host, settings.port, count=settings.workers)
    except (OSError, TypeError, UnicodeError) as exc:  # some names cannot be encoded
        number, reason = getattr(exc, "errno", None), getattr(exc, "strerror", None)
        if ":" in settings.host:
            reason = "only IPv4 addresses can be listened on"
        message = f"can't listen on {settings.host}:{settings.port}: {reason or exc}"
        raise OSError(number, message) from exc


def _close_loop(loop: asyncio.AbstractEventLoop) -> None:
    """End what is still open, as asyncio.run does (asyncio.Runner needs Python 3.11)."""

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
