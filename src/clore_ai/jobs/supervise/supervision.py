"""Watches one job on its machine to its end, through lost connections.

The machine runs the job by itself. Each step here can be interrupted and repeated: connecting,
uploading (only what changed), starting (once, however often it is requested), reading the output
(from the first byte that is missing here), fetching. So a lost connection, a laptop that slept and
a change of Wi-Fi have the same answer: connect again and continue (`machine`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Literal

from clore_ai._ssh import async_programs
from clore_ai._ssh.connection import ConnectionLost, SSHConnection
from clore_ai._ssh.copy import free_space
from clore_ai._ssh.copy.failures import last_words
from clore_ai._values import sizes
from clore_ai._values.text import plain
from clore_ai.exceptions import CloreAPIError, OrderEnded
from clore_ai.jobs import scripts
from clore_ai.jobs.supervise import bid, blame
from clore_ai.jobs.supervise import limits as limit
from clore_ai.jobs.supervise.follow import Follower
from clore_ai.jobs.supervise.machine import Reach
from clore_ai.jobs.supervise.request import JobRequest
from clore_ai.jobs.transfer import Copier, CopyError, NoRoomError
from clore_ai.jobs.upload import selection
from clore_ai.rental.limits.enforce import Keeper

if TYPE_CHECKING:
    from clore_ai._ssh.copy.fetch import Fetched
    from clore_ai.jobs.engine import Engine
    from clore_ai.jobs.output import Output
    from clore_ai.jobs.store import Job, Jobs, State
    from clore_ai.jobs.upload.contents import Upload
    from clore_ai.models import Order
    from clore_ai.rental.limits.expiry import Limit

_BUSY_SHARE = 10
"""The pause between two fetches is at least this many times as long as one takes."""
_ANSWERS_WITHIN_S, _LAST_OUTPUT_S, _LAST_FETCH_S = 5.0, 20.0, 60.0
"""How long a machine about to be cancelled has to stop, send its output and send its files."""
_MOST_TOLD = 100

_LOST = {
    "died": "The job's processes are gone and left no exit code: the machine was restarted or ran "
    "out of memory.",
    "missing": "The job is gone from the machine: it came back with an empty disk.",
}

Ending = Literal["ended", "stopped", "detached", "lost", "limit"]


@dataclass
class Supervision:
    """One job being watched.

    Args:
        engine: runs flows.
        jobs, job: the record; the caller holds its lock.
        output: takes the job's output.
        line: the command, and `env` its variables; None if the job was started before.
        on_message: called with a sentence for the user.
    """

    engine: Engine
    jobs: Jobs
    job: Job
    output: Output
    line: str | None = None
    env: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    upload: Upload | None = None
    """What to upload first; None for nothing."""
    resend: bool = False
    """Also upload the outputs fetched so far: the machine is a new one."""
    forwards: tuple[str, ...] = ()
    detach: bool = False
    """Return as soon as the job runs."""
    on_message: Callable[[str], object] = lambda _message: None
    request: JobRequest = field(default_factory=JobRequest)
    order: Order | None = None
    """As last seen, starting with the host that answered; None to look it up."""
    _reach: Reach = field(init=False)
    limit: Limit | None = None
    """The limit that the machine has reached: its order is cancelled, even if not the job's."""
    _sent: tuple[int, int] | None = None
    _came: tuple[int, int] = (0, 0)
    """Files and bytes fetched."""
    _keeper: Keeper = field(default_factory=Keeper)
    _refused: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        self._reach = Reach(
            self.engine, self.jobs, self.job, self.on_message, self.forwards, self.order,
            begun=self.job.state == "running",
        )  # fmt: skip

    async def run(self) -> Ending:
        """Watch the job to its end, or to what the user wants instead; the record has the rest.

        Raises:
            CloreAPIError: it failed: no way in, no room, no program to copy with …
        """
        main = asyncio.ensure_future(self._through())
        asked = asyncio.ensure_future(self.request.other_than("watch"))
        holding = asyncio.ensure_future(bid.hold(self.engine, self.job, self.on_message))
        self._keeper.order_id = self.job.order_id
        self._keeper.ending_s = scripts.STOP_GRACE_S
        limited = asyncio.ensure_future(self._limited())
        try:
            while True:
                await asyncio.wait({main, asked}, return_when=asyncio.FIRST_COMPLETED)
                if main.done():
                    return main.result()
                if self.request.wanted == "detach" and self.job.state == "new":
                    self.detach = True  # once the job runs
                    asked = asyncio.ensure_future(self.request.other_than("detach"))
                    continue
                if self.request.wanted == "limit" and self.job.over:  # the last fetch
                    await asyncio.wait({main}, timeout=self._ends_within_s())
                    if main.done():
                        return main.result()
                await _cancelled(main)
                return await self._as_asked()
        finally:
            await _cancelled(asked)
            await _cancelled(main)
            await _cancelled(holding)
            await _cancelled(limited)
            await asyncio.shield(self._reach.close())

    async def _limited(self) -> None:
        self.limit = await limit.reached(self.engine, self._keeper, self.on_message)
        self.on_message(f"{self.limit}: stopping the job.")
        self.request.want("limit")

    def _ends_within_s(self) -> float:
        """How long the last fetch may take, once the job has to end."""
        return max(_LAST_FETCH_S, 0.0 if self.limit is None else self.limit.left_s)

    async def _as_asked(self) -> Ending:
        wanted = self.request.wanted
        if wanted == "detach":
            return "detached"
        if self.job.over and wanted == "limit":
            self.on_message("The last fetch took too long; some of the outputs are not here.")
            return "limit"
        if self.job.over and self.job.fetched:  # its end was being recorded
            return "lost" if self.job.state == "lost" else "ended"
        if self.job.over:  # only the fetch is left
            raise CopyError("The fetch of the outputs was interrupted.")
        if wanted in ("stop", "limit") and self._reach.begun:
            ending = asyncio.ensure_future(self._stopped())
            abandoned = asyncio.ensure_future(self.request.other_than(wanted))
            await asyncio.wait({ending, abandoned}, return_when=asyncio.FIRST_COMPLETED)
            for each in (ending, abandoned):
                await _cancelled(each)
        await self._over("stopped", self.job.code)
        return "limit" if wanted == "limit" else "stopped"

    async def _stopped(self) -> None:
        """Stop the job, read its last output and fetch, within a minute."""

        async def code() -> None:
            self.job.code = (await self._reach.there(self._follow)).code

        try:
            stop = self._reach.there(lambda line: line.run(scripts.stop(self.job.name)))
            await async_programs.within(scripts.STOP_GRACE_S + _ANSWERS_WITHIN_S, stop)
            await async_programs.within(_LAST_OUTPUT_S, code())
            if self.job.outputs:
                self.on_message(
                    "Fetching the outputs, for a minute at most; Ctrl-C leaves them on the machine."
                )
            await async_programs.within(self._ends_within_s(), self._last_fetch())
        except (asyncio.TimeoutError, CloreAPIError) as exc:
            trouble = self._reach.trouble or "silence"
            why = str(exc) or f"the machine did not answer in time ({trouble})"
            self.on_message(f"The job could not be stopped cleanly: {why}")

    async def _through(self) -> Ending:
        try:
            if self.job.state == "new":
                if self.upload is not None:
                    await self._reach.there(self._upload, copies=True)
                await self._reach.there(self._start)
            if self.detach:
                return "detached"
            fetching = asyncio.ensure_future(self._fetch_now_and_then())
            try:
                word = await self._reach.there(self._follow)
            finally:
                await _cancelled(fetching)
            ended = word.what == "ended"
            await self._over("ended" if ended else "lost", word.code, fetched=not self.job.outputs)
            if ended:
                await self._last_fetch()
            else:
                self.on_message(_LOST[word.what])
                order = self._reach.order
                # A spot order's disk may be gone because the order was outbid.
                if word.what == "missing" and order is not None and order.type != "spot":
                    gone = blame.HostLost(_LOST[word.what], order)
                    await blame.held_against(self.engine, gone)
                await self._rescue()
        except OrderEnded as exc:
            if not (self._reach.begun or self.order is not None):
                await self._over("lost", None)
                raise
            self.on_message(str(exc))
            if isinstance(exc, blame.HostLost):
                await blame.held_against(self.engine, exc)
            self.job.why = exc.reason
            await self._over(self.job.state if self.job.over else "lost", self.job.code,
                             fetched=not self.job.outputs)  # fmt: skip
            return "lost"
        return "ended" if ended else "lost"

    async def _rescue(self) -> None:
        """Fetch what a lost job left, as far as possible; the job holds no machine."""
        try:
            await self._last_fetch()
        except OrderEnded:
            raise
        except CloreAPIError as exc:
            self.on_message(f"The outputs of the job could not be fetched: {exc}")

    async def _over(self, state: State, code: int | None,
                    *, fetched: bool | None = None) -> None:  # fmt: skip
        if self.job.ended_at is None:
            self.job.ended_at = time.time()
        self.job.state, self.job.code = state, code
        if fetched is not None:
            self.job.fetched = fetched
        await self.engine.local(self.jobs.save, self.job)

    async def _last_fetch(self) -> None:
        if self.job.outputs:
            self.job.fetched = False
            found = await self._reach.there(self._fetch, copies=True)
            for each in found.missing:
                self.on_message(
                    f"{plain(each)} does not exist on the machine; nothing was fetched."
                )
            if found.unread:  # it may just have been renamed
                found = await self._reach.there(self._fetch, copies=True)
            if found.unread:
                raise CopyError(f"The machine lists {found.unread[0]} but does not send it.")
            if found.over is not None:
                raise CopyError(self._too_much(found))
            self.job.fetched = True
            await self.engine.local(self.jobs.save, self.job)
        sent = [] if self._sent is None else [f"Sent: {_amount(self._sent)}."]
        came = [f"Fetched: {_amount(self._came)}."] if self.job.outputs else []
        if sent or came:
            self.on_message(" ".join((*sent, *came)))

    def _too_much(self, found: Fetched) -> str:
        files, size = found.over or (0, 0)
        return (
            f"The outputs on the machine exceed --max-output: {files:,} files, "
            f"{sizes.in_words(size)}, of {sizes.in_words(self.job.max_output)} allowed. The "
            f"small ones are here. Fetch the rest: clore attach {self.job.id} --max-output SIZE"
        )

    def _copier(self, line: SSHConnection) -> Copier:
        return Copier(line, Path(self.job.folder), self.job.work)

    async def _upload(self, line: SSHConnection) -> None:
        if self.upload is None:
            return
        listed = self.upload.paths
        paths, stays = await async_programs.in_thread(lambda _stop: listed(resend=self.resend))
        if stays is not None:
            self.on_message(stays)
        access = self.engine.session.access
        sent = access.folder(self.job.order_id) / selection.list_name(Path(self.job.folder))
        self._sent = await self._copier(line).upload(paths, sent)
        whole = sizes.counted(len(paths), "file")
        self.on_message(f"Uploaded {_amount(self._sent)}; the working folder has {whole} to send.")

    async def _start(self, line: SSHConnection) -> None:
        self._reach.begun = True
        done = await line.run(
            scripts.start(self.job.name, self.job.work, self.line or "true", self.env)
        )
        if done.code != 0:
            await self._has_room(line)
            said = last_words(done.err) or f"exit {done.code}"
            raise CopyError(f"The job could not be started on the machine: {said}")
        self.job.state = "running"
        await self.engine.local(self.jobs.save, self.job)

    async def _has_room(self, line: SSHConnection) -> None:
        """Check that the machine's disk has room.

        Raises:
            NoRoomError: it has none.
        """
        places = '"$HOME"', '"$HOME/.clore"', f'"$HOME/{self.job.work}"'
        free_kb = free_space.least_free_kb((await line.run(free_space.question(*places))).out)
        if free_kb is not None and free_kb < free_space.LITTLE_KB:
            raise NoRoomError(
                f"The machine's disk is full ({free_kb} kB free): the job could not be started.",
                there=True,
            )

    async def _follow(self, line: SSHConnection) -> scripts.Word:
        """Pass on the job's output, from the first byte that is missing here to its end."""
        script = scripts.follow(self.job.name, self.output.size)
        follower = Follower(await line.start(script), on_message=self._reach.useful)
        try:
            while piece := await follower.read():
                self._reach.useful()
                await self.output.take(piece)
        finally:
            await follower.end()
        last = follower.last
        whole = last is not None and (last.size or 0) <= self.output.size
        if last is None or not whole:
            raise ConnectionLost(follower.other or "the connection was cut")
        return last

    async def _fetch(self, line: SSHConnection) -> Fetched:
        job, began = self.job, time.monotonic()
        found = await self._copier(line).fetch(job.outputs, job.max_output, job.begun_at)
        self._reach.useful()
        # The last fetch takes about as long as this one.
        self._keeper.ending_s = scripts.STOP_GRACE_S + time.monotonic() - began
        self._came = (self._came[0] + found.files, self._came[1] + found.size)
        new = {name: why for name, why in found.refused.items() if name not in self._refused}
        if new and len(self._refused) < _MOST_TOLD:
            self._refused |= set(new)
            some = [f"{name} ({why})" for name, why in list(new.items())[:3]]
            more = f" and {len(new) - 3:,} more" if len(new) > 3 else ""  # noqa: PLR2004 - as above
            self.on_message(f"Not taken from the machine: {', '.join(some)}{more}.")
        return found

    async def _fetch_now_and_then(self) -> None:
        """Fetch at intervals while the job runs; of the errors only a full disk is reported."""
        reported = False
        pause = self.job.fetch_every_s
        while self.job.outputs:
            await asyncio.sleep(pause)
            line, began = self._reach.line, time.monotonic()
            if line is None or not line.up:
                continue
            try:
                found = await self._fetch(line)
                trouble = "" if found.over is None else self._too_much(found)
            except CopyError as exc:
                trouble = str(exc)
            except ConnectionLost:
                continue
            if trouble and not reported:
                self.on_message(f"{trouble} The job keeps running; the fetch will be retried.")
            reported = bool(trouble)
            pause = max(self.job.fetch_every_s, _BUSY_SHARE * (time.monotonic() - began))


def _amount(count: tuple[int, int]) -> str:
    """``12 files, 3.4 MB``."""
    files, size = count
    return f"{sizes.counted(files, 'file')}, {sizes.in_words(size)}"


async def _cancelled(task: asyncio.Future[Any]) -> None:
    if not task.done():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
