"""One machine's SSH: a connection that stays open, and the programs that use it.

The user's own OpenSSH does the work, with a control master of ours. It has its own process group,
so Ctrl-C on the terminal does not reach it. A program that finds it gone connects by itself. All
waits are bounded: the machine's owner may never answer, or answer without end.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from clore_ai._api.steps import Done, Exec
from clore_ai._ssh import async_programs, marks
from clore_ai._ssh.copy.failures import last_words
from clore_ai._ssh.target import KEPT, plain_path
from clore_ai._state.folder import private_folder
from clore_ai.exceptions import CloreAPIError

if TYPE_CHECKING:
    from clore_ai._ssh.target import Target

OPEN_WITHIN_S = 30.0
_LONGEST_PATH = 80
"""A socket's path has 104 characters at most (macOS), and ssh adds 17 while it creates one."""
_SSH_FAILED = 255
_POLL_S = 0.01
_LEFT_S = 1.0
_MOST_ANSWER = 1 << 20
_MOST_NOISE = 1 << 22
_CHUNK = 1 << 20


class ConnectionLost(Exception):  # noqa: N818 - what happened
    """The connection is gone; the last request may have been carried out.

    `moved`: had anything been transferred before? `shut`: ssh gave up by itself, at the start.
    """

    def __init__(self, message: str, *, moved: bool = False, shut: bool = False) -> None:
        super().__init__(message)
        self.moved = moved
        self.shut = shut


class SSHConnection:
    """One connection to one machine. After `ConnectionLost`, open another object.

    Args:
        target: the machine's SSH.
        home: the state folder, for the socket.
        forwards: local ports that lead to the machine, as for ssh's ``-L``.
    """

    def __init__(self, target: Target, home: Path, forwards: tuple[str, ...] = ()) -> None:
        self._home, self._forwards = home, forwards
        self._target = target
        self._shared: tuple[str, ...] = ()
        self._folder: Path | None = None
        self._master: asyncio.subprocess.Process | None = None
        self._stderr = b""
        self._reading: asyncio.Task[None] | None = None

    @property
    def up(self) -> bool:
        """As far as is known, is the connection open?"""
        return self._master is not None and self._master.returncode is None

    async def open(self) -> None:
        """Connect.

        Raises:
            Lost: the machine can't be reached, or refuses the login, at least for now.
        """
        path = await async_programs.in_thread(lambda _: self._socket())
        self._shared = self._target.sharing(path)
        forwards = [word for each in self._forwards for word in ("-L", each)]
        try:
            self._master = await async_programs.start(
                self._target.ssh(None, *KEPT, "-o", f"ControlPath={plain_path(path)}", *forwards),
                stdout=asyncio.subprocess.DEVNULL,
            )
        except OSError as exc:
            await self._remove()
            raise CloreAPIError(f"ssh can't be started: {exc.strerror}.") from exc
        self._reading = asyncio.ensure_future(self._listen(self._master))
        deadline = asyncio.get_running_loop().time() + OPEN_WITHIN_S
        try:
            # ssh does not report that it is ready, so we look for its socket.
            while not path.exists() and self.up and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(_POLL_S)
            await self._check(path)
        except BaseException:
            await self.close()
            raise

    async def lives(self) -> bool:
        """Does the connection answer?"""
        if not self.up:
            return False
        done = await async_programs.run(Exec(self.words("true"), b"", OPEN_WITHIN_S))
        return done.code == 0 and self.up

    async def run(self, script: str, within_s: float = 30.0) -> Done:
        """Run a script on the machine, by stdin, so that no command line on either side shows it.

        Raises:
            Lost: the connection is gone, or the script took longer.
        """
        return await self.fed("sh -s", script.encode(), within_s)

    async def fed(self, line: str, stdin: bytes, within_s: float = 30.0) -> Done:
        """Run a line of the machine's shell, with `stdin`.

        Raises:
            Lost: as for `run`.
        """
        step = Exec(self.words(line), stdin, within_s, most=_MOST_ANSWER)
        done = await async_programs.run(step)
        if done.flooded:
            raise ConnectionLost("the machine sent more than requested")
        if done.code == _SSH_FAILED or done.code is None:
            why = f"no answer in {within_s:.0f} s" if done.code is None else "it was cut"
            raise ConnectionLost(last_words(done.err) or why)
        return done

    async def start(self, script: str) -> Running:
        """Start a script on the machine; the caller reads its output and errors."""
        mark = marks.new()
        # Ends a line that a start-up file began on either stream.
        script = f"printf '\\n%s\\n' {mark}; echo >&2\n{script}"
        line = f"exec sh -c {shlex.quote(script)}"
        return Running(await async_programs.start(self.words(line)), mark)

    def words(self, line: str) -> tuple[str, ...]:
        """The command line that runs a line of the machine's shell."""
        return self._target.ssh(line, *self._shared)

    async def close(self) -> None:
        """Close the connection; programs on the machine keep running."""
        if self._master is not None and self._reading is not None:
            await async_programs.end(self._master)
            self._reading.cancel()
        await self._remove()

    def _socket(self) -> Path:
        self._folder = _socket_folder(self._home)
        return self._folder / "s"

    async def _remove(self) -> None:
        folder = self._folder
        if folder is not None:
            await async_programs.in_thread(lambda _: shutil.rmtree(folder, ignore_errors=True))

    async def _check(self, path: Path) -> None:
        if not self.up and self._reading is not None:
            await asyncio.wait([self._reading], timeout=_LEFT_S)
            raise ConnectionLost(last_words(self._stderr) or "ssh ended", shut=True)
        if not path.exists():  # noqa: ASYNC240 - in memory
            raise ConnectionLost(f"no answer in {OPEN_WITHIN_S:.0f} s")

    async def _listen(self, master: asyncio.subprocess.Process) -> None:
        if master.stderr is not None:
            while piece := await master.stderr.read(4096):
                self._stderr = (self._stderr + piece)[-4096:]


class Running:
    """A script that runs on the machine; its output starts after that of start-up files."""

    def __init__(self, process: asyncio.subprocess.Process, mark: str) -> None:
        self.errors = process.stderr
        self._process, self._mark = process, mark
        self._begun = False

    async def read(self) -> bytes:
        """The next piece of its output; empty at its end.

        Raises:
            Lost: its output is not the script's.
        """
        if self._process.stdout is None:
            return b""
        head = b""
        while not self._begun:
            piece = await self._process.stdout.read(_CHUNK)
            head += piece
            rest = marks.after(self._mark, head)
            if rest is None and (not piece or len(head) > _MOST_NOISE):
                if piece:
                    raise ConnectionLost("the machine sent unexpected output")
                return b""
            self._begun = rest is not None
            if rest:
                return rest
        return await self._process.stdout.read(_CHUNK)

    async def end(self) -> None:
        """End the local side; processes on the machine may keep running."""
        await async_programs.end(self._process)


def _socket_folder(home: Path) -> Path:
    """A private folder for one socket, in the state folder if that path is short enough."""
    if len(str(home)) + len("/line/12345678/s") <= _LONGEST_PATH:
        with contextlib.suppress(OSError):
            place = private_folder(private_folder(home) / "line")
            return Path(tempfile.mkdtemp(prefix="", dir=place))
    return Path(tempfile.mkdtemp(prefix="clore-"))
