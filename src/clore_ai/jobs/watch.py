"""Watches one job on its machine to its end, whatever befalls the connection.

The machine runs the job by itself. Each step here may be broken off and done again: connecting,
uploading (only what changed), starting (once, however often it is asked for), reading the output
from the byte on that is here already, fetching. So there is one answer to a lost connection, a
laptop that slept and another Wi-Fi: connect again and go on. Only a machine that the service no
longer lists, or that does not answer for `lost_after_s` while the service does, counts as lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Literal, TypeVar

from clore_ai import _programs, _sizes
from clore_ai._ssh.failures import last_words
from clore_ai._text import plain
from clore_ai.exceptions import (
    CloreAPIError,
    NotFoundError,
    OrderEnded,
    TransportError,
    WaitTimeout,
)
from clore_ai.jobs import bid, folder, host, remote
from clore_ai.jobs.copy import Copier, CopyError
from clore_ai.jobs.follow import Follower
from clore_ai.jobs.line import Line, Lost
from clore_ai.models import Order
from clore_ai.rental import wait

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from clore_ai._ssh.fetch import Fetched
    from clore_ai.jobs.contents import Upload
    from clore_ai.jobs.engine import Engine
    from clore_ai.jobs.output import Output
    from clore_ai.jobs.record import Job, Jobs, State

T = TypeVar("T")

_BUSY_SHARE = 10
"""A pause between two fetches is so many times as long as one takes, at least."""
_TRIES, _TRIES_HERE = 5, 3
"""So often it is tried before a machine is lost; or before what is wrong here ends it."""
_TOLD_AFTER_S = 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0
_ANSWERS_WITHIN_S, _LAST_OUTPUT_S, _LAST_FETCH_S = 5.0, 20.0, 60.0
"""A machine that is to be cancelled has no longer than this to stop, to show and to send."""
_MOST_TOLD = 100

Ending = Literal["ended", "stopped", "detached", "lost"]


@dataclass
class Wishes:
    """What the user may ask of a job that is being watched; safe from any task of the loop."""

    changed: asyncio.Event = field(default_factory=asyncio.Event)
    wanted: Literal["watch", "detach", "stop", "abandon"] = "watch"

    def want(self, what: Literal["detach", "stop", "abandon"]) -> None:
        """`stop` ends the job, and fetches what there is; `abandon` does neither."""
        self.wanted = what
        self.changed.set()


@dataclass
class Watch:
    """One job being watched.

    Args:
        engine: runs flows.
        jobs, job: the record, whose lock the caller holds.
        output: takes what the job writes.
        line: what is run, and `env`: its variables; None where it was started before.
        tell: is told in a sentence what people may want to know.
    """

    engine: Engine
    jobs: Jobs
    job: Job
    output: Output
    line: str | None = None
    env: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    upload: Upload | None = None
    """What goes there first; None: nothing."""
    resend: bool = False
    """Bring the outputs fetched before along: the machine is a new one."""
    forwards: tuple[str, ...] = ()
    detach: bool = False
    """Leave as soon as it runs."""
    tell: Callable[[str], object] = lambda _said: None
    wishes: Wishes = field(default_factory=Wishes)
    order: Order | None = None
    """As last seen, with the host first that answered; None: it is looked up."""
    _line: Line | None = None
    _trouble: str = ""
    _useful_at: float = 0.0
    """When the machine last did something for the job, by the monotonic clock."""
    _told: bool = False
    """Does the user know that it does not?"""
    _sent: tuple[int, int] | None = None
    _came: tuple[int, int] = (0, 0)
    """Files and bytes."""
    _refused: set[str] = field(default_factory=set[str])
    _begun: bool = False
    """May it run there?"""
    _fresh: bool = False
    """Was its machine just rented?"""

    async def run(self) -> Ending:
        """See it to its end, or to what the user wants instead; the record says the rest.

        Raises:
            CloreAPIError: it can't be done: no way in, no room, nothing to copy with …
        """
        self._begun = self.job.state == "running"
        self._fresh = self.order is not None
        self._useful_at = time.monotonic()
        main = asyncio.ensure_future(self._through())
        asked = asyncio.ensure_future(self._asked())
        holding = asyncio.ensure_future(bid.hold(self.engine, self.job, self.tell))
        try:
            while True:
                await asyncio.wait({main, asked}, return_when=asyncio.FIRST_COMPLETED)
                if main.done():
                    return main.result()
                if self.wishes.wanted == "detach" and self.job.state == "new":
                    self.detach = True  # once it runs
                    asked = asyncio.ensure_future(self._asked("detach"))
                    continue
                await _cancelled(main)
                return await self._as_asked()
        finally:
            await _cancelled(asked)
            await _cancelled(main)
            await _cancelled(holding)
            if self._line is not None:
                await asyncio.shield(self._line.close())

    async def _asked(self, before: str = "watch") -> None:
        while self.wishes.wanted == before:
            self.wishes.changed.clear()
            await self.wishes.changed.wait()

    async def _as_asked(self) -> Ending:
        if self.wishes.wanted == "detach":
            return "detached"
        if self.job.over:  # all that is left is to fetch
            raise CopyError("The fetch of the outputs was broken off.")
        if self.wishes.wanted == "stop" and self._begun:
            ending = asyncio.ensure_future(self._stopped())
            abandoned = asyncio.ensure_future(self._asked("stop"))
            await asyncio.wait({ending, abandoned}, return_when=asyncio.FIRST_COMPLETED)
            for each in (ending, abandoned):
                await _cancelled(each)
        self._over("stopped", self.job.code)
        return "stopped"

    async def _stopped(self) -> None:
        """Tell it to end, read its last words, fetch; as far as that goes within a minute."""

        async def code() -> None:
            self.job.code = (await self._there(self._follow)).code

        try:
            stop = self._there(lambda line: line.run(remote.stop(self.job.name)))
            await asyncio.wait_for(stop, remote.STOP_GRACE_S + _ANSWERS_WITHIN_S)
            await asyncio.wait_for(code(), _LAST_OUTPUT_S)
            if self.job.outputs:
                self.tell("Fetching the outputs, for a minute at most; Ctrl-C leaves them there.")
            await asyncio.wait_for(self._last_fetch(), _LAST_FETCH_S)
        except (asyncio.TimeoutError, CloreAPIError) as exc:
            why = str(exc) or f"the machine did not answer in time ({self._trouble or 'silence'})"
            self.tell(f"The job could not be stopped in order: {why}")

    async def _through(self) -> Ending:
        try:
            if self.job.state == "new":
                if self.upload is not None:
                    await self._there(self._upload)
                await self._there(self._start)
            if self.detach:
                return "detached"
            fetching = asyncio.ensure_future(self._fetch_now_and_then())
            try:
                word = await self._there(self._follow)
            finally:
                await _cancelled(fetching)
            ended = word.what == "ended"
            self._over("ended" if ended else "lost", word.code, fetched=not self.job.outputs)
            if not ended:
                self.tell(
                    "The job's processes are gone, and left no exit code: the machine was started "
                    "anew, or ran out of memory."
                )
            await self._last_fetch()
        except OrderEnded as exc:
            if not (self._begun or self._fresh):
                self._over("lost", None)
                raise
            self.tell(str(exc))
            if isinstance(exc, host.HostLost):
                await host.held_against(self.engine, exc)
            self._over(self.job.state if self.job.over else "lost", self.job.code,
                       fetched=not self.job.outputs)  # fmt: skip
            return "lost"
        return "ended" if ended else "lost"

    def _over(self, state: State, code: int | None,
              *, fetched: bool | None = None) -> None:  # fmt: skip
        if self.job.ended_at is None:
            self.job.ended_at = time.time()
        self.job.state, self.job.code = state, code
        if fetched is not None:
            self.job.fetched = fetched
        self.jobs.save(self.job)

    async def _last_fetch(self) -> None:
        if self.job.outputs:
            self.job.fetched = False
            found = await self._there(self._fetch)
            for each in found.missing:
                self.tell(
                    f"{plain(each)} does not exist on the machine; nothing of it was fetched."
                )
            if found.unread:  # it may have changed its name just then
                found = await self._there(self._fetch)
            if found.unread:
                raise CopyError(f"The machine does not send {found.unread[0]}, which it lists.")
            if found.over is not None:
                raise CopyError(self._too_much(found))
            self.job.fetched = True
            self.jobs.save(self.job)
        sent = [] if self._sent is None else [f"Sent: {_amount(self._sent)}."]
        came = [f"Fetched: {_amount(self._came)}."] if self.job.outputs else []
        if sent or came:
            self.tell(" ".join((*sent, *came)))

    def _too_much(self, found: Fetched) -> str:
        files, size = found.over or (0, 0)
        return (
            f"The outputs on the machine are more than --max-output allows: {files:,} files, "
            f"{_sizes.in_words(size)}, of {_sizes.in_words(self.job.max_output)} allowed. The "
            f"small ones are here. Fetch the rest: clore attach {self.job.id} --max-output SIZE"
        )

    async def _there(self, work: Callable[[Line], Awaitable[T]]) -> T:
        """The result of what is done over the connection, begun again whenever that is lost.

        Raises:
            OrderEnded: the machine is lost.
            NoWayInError: it lets nobody in.
        """
        pause, tries = _FIRST_PAUSE_S, 0
        while True:
            tries += 1
            order = self.order or await self._first_look()
            try:
                line = await self._connected(order)
                result = await work(line)
            except Lost as exc:
                self._trouble = str(exc)
                if exc.moved:
                    self._is_useful()
                if self._line is not None:
                    await self._line.close()
            else:
                self._is_useful()
                return result
            ours = await self._is_ours(order, tries)
            if tries > 1 or time.monotonic() - self._useful_at > _TOLD_AFTER_S:
                self._say_trouble(order)
            if ours or not await self._is_there(order):
                self._useful_at = time.monotonic()  # nothing can be said of the machine
            silent = time.monotonic() - self._useful_at
            if tries >= _TRIES and silent > self.job.lost_after_s:
                raise host.HostLost(
                    f"Order {order.id} has not answered on SSH for {silent:.0f} s, and the service "
                    f"does: its host is gone ({self._trouble}).",
                    order,
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _is_ours(self, order: Order, tries: int) -> bool:
        """Is it this side that keeps us from the machine? Then no time counts against its host.

        Raises:
            CloreAPIError: it is, and the job is not begun yet: it would fail anywhere.
        """
        ours = await host.wrong_here(self.engine, order, self._trouble)
        if ours is not None:
            self._trouble = str(ours).rstrip(".")
            if tries >= _TRIES_HERE and not self._begun:
                raise ours
        return ours is not None

    def _is_useful(self) -> None:
        self._useful_at = time.monotonic()
        if self._told:
            self._told = False
            self.tell("Connected again.")

    def _say_trouble(self, order: Order) -> None:
        if self._told:
            return
        self._told = True
        if self._begun:
            self.tell(f"The connection is lost ({self._trouble}); the job goes on. Trying on…")
        else:
            self.tell(f"Order {order.id} does not answer on SSH ({self._trouble}). Trying on…")

    async def _connected(self, order: Order) -> Line:
        """A connection that lives, as far as is known.

        Raises:
            Lost: there is none now.
            NoWayInError: the machine lets nobody in.
        """
        if self._line is None or not self._line.up:
            if self._line is not None:
                await self._line.close()
            self._line = await self._opened(order)
        return self._line

    async def _opened(self, order: Order) -> Line:
        if order.ssh_port is None or not order.ssh_hosts:
            raise Lost("it stands still, and has no SSH address")  # outbid, or not up again yet
        self.order = order
        line = Line(
            self.engine.session.access.target(order, tell=self.tell), self.jobs.home, self.forwards
        )
        await line.open()
        return line

    async def _first_look(self) -> Order:
        session = self.engine.session
        if self.job.state == "new":
            return await self._boots()
        while True:
            try:
                order = await self.engine.drive(
                    wait.find(session, self.job.order_id, include_completed=True)
                )
            except NotFoundError as exc:
                if not self._begun:
                    raise
                gone = Order.model_validate({"id": self.job.order_id})
                raise OrderEnded(f"{exc}", gone) from exc
            except TransportError as exc:
                self.tell(f"The service does not answer ({exc}). Trying on…")
                await asyncio.sleep(_LONGEST_PAUSE_S)
                continue
            if not order.active:
                raise OrderEnded(f"Order {order.id} on server {order.server_id} has ended.", order)
            return order

    async def _boots(self) -> Order:
        """The order, once SSH greets; the user hears of a wait."""
        session, order_id = self.engine.session, self.job.order_id
        begun = time.monotonic()
        try:
            return await self.engine.drive(wait.until_ssh(session, order_id, _TOLD_AFTER_S))
        except WaitTimeout:
            self.tell(
                f"Order {order_id} does not answer on SSH yet; machines take 1-6 minutes to start. "
                "Trying on…"
            )
        left = wait.BOOT_DEADLINE_S - (time.monotonic() - begun)
        return await self.engine.drive(wait.until_ssh(session, order_id, left))

    async def _is_there(self, order: Order) -> bool:
        """Does the service say that the order runs? False where it says nothing.

        Raises:
            OrderEnded: it has ended.
        """
        try:
            found = await self.engine.drive(
                wait.find(self.engine.session, order.id, include_completed=True)
            )
        except NotFoundError:
            raise OrderEnded(f"Order {order.id} is gone from your orders.", order) from None
        except CloreAPIError:
            return False
        if not found.active:
            raise OrderEnded(f"Order {order.id} on server {order.server_id} has ended.", found)
        if found.ssh_port is not None and found.ssh_hosts:  # it may have come up anew elsewhere
            self.order = found
        return True

    def _copier(self, line: Line) -> Copier:
        return Copier(line, Path(self.job.folder), self.job.work)

    async def _upload(self, line: Line) -> None:
        if self.upload is None:
            return
        listed = self.upload.paths
        paths, stays = await _programs.in_thread(lambda _stop: listed(resend=self.resend))
        if stays is not None:
            self.tell(stays)
        access = self.engine.session.access
        sent = access.folder(self.job.order_id) / folder.list_name(Path(self.job.folder))
        self._sent = await self._copier(line).upload(paths, sent)
        whole = "1 file" if len(paths) == 1 else f"{len(paths):,} files"
        self.tell(f"Uploaded {_amount(self._sent)}; the working folder has {whole} to send.")

    async def _start(self, line: Line) -> None:
        self._begun = True
        done = await line.run(
            remote.start(self.job.name, self.job.work, self.line or "true", self.env)
        )
        if done.code != 0:
            said = last_words(done.err) or f"exit {done.code}"
            raise CopyError(f"The job could not be started there: {said}")
        self.job.state = "running"
        self.jobs.save(self.job)

    async def _follow(self, line: Line) -> remote.Word:
        """Hand on its output from where that is here, to its end."""
        script = remote.follow(self.job.name, self.output.size)
        follower = Follower(await line.start(script))
        try:
            while piece := await follower.read():
                self._is_useful()
                await self.output.take(piece)
        finally:
            await follower.end()
            last = follower.last
            whole = last is not None and (last.size or 0) <= self.output.size
            if whole or last is None:  # else it promises output, and does not send it
                self._useful_at = max(self._useful_at, follower.heard_at)
        if last is None or not whole:
            raise Lost(follower.other or "the connection was cut")
        return last

    async def _fetch(self, line: Line) -> Fetched:
        found = await self._copier(line).fetch(self.job.outputs, self.job.max_output)
        self._came = (self._came[0] + found.files, self._came[1] + found.size)
        new = {name: why for name, why in found.refused.items() if name not in self._refused}
        if new and len(self._refused) < _MOST_TOLD:
            self._refused |= set(new)
            some = [f"{name} ({why})" for name, why in list(new.items())[:3]]
            more = f" and {len(new) - 3:,} more" if len(new) > 3 else ""  # noqa: PLR2004 - as above
            self.tell(f"Not taken from the machine: {', '.join(some)}{more}.")
        return found

    async def _fetch_now_and_then(self) -> None:
        """While it runs; what goes wrong is for the last fetch to say, but a full disk at once."""
        told = False
        pause = self.job.fetch_every_s
        while self.job.outputs:
            await asyncio.sleep(pause)
            line, began = self._line, time.monotonic()
            if line is None or not line.up:
                continue
            try:
                found = await self._fetch(line)
                trouble = "" if found.over is None else self._too_much(found)
            except CopyError as exc:
                trouble = str(exc)
            except Lost:
                continue
            if trouble and not told:
                self.tell(f"{trouble} The job goes on; the fetch is tried again.")
            told = bool(trouble)
            pause = max(self.job.fetch_every_s, _BUSY_SHARE * (time.monotonic() - began))


def _amount(count: tuple[int, int]) -> str:
    """``12 files, 3.4 MB``."""
    files, size = count
    return f"{files:,} file{'' if files == 1 else 's'}, {_sizes.in_words(size)}"


async def _cancelled(task: asyncio.Future[T]) -> None:
    if not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
