"""A machine whose owner is the attacker, behind an order of a real marketplace.

Its SSH server is real, and so are its programs, until a test replaces one: the shell of a session,
a program on its PATH, the behaviour of a connection. It accepts and records every key.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import asyncssh
from asyncssh.constants import EXTENDED_DATA_STDERR
from clients import Loop

from clore_sandbox import Sandbox
from clore_sandbox.provision import Ports
from clore_sandbox.provision.sweep import MARKER, end_processes
from clore_sandbox.running import Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from clore_sandbox.opening import Opened
    from clore_sandbox.provision import Provisioner, RoomPlan

Shell = Callable[[int, str], "Sequence[str]"]
"""The command of a session, by its number (from 0) and the line that it received."""

SILENT = ("sleep", "1000000")
_IMAGE = "hostile/machine:"
_CHUNK = 65_536
_ENDS_WITHIN_S = 5.0
_SFTP = "/usr/lib/openssh/sftp-server"
_OPEN_ENDED = shlex.quote(
    "import sys; data = sys.stdin.buffer.read(); end = -(-len(data.rstrip(bytes(1))) // 512) * 512;"
    " sys.stdout.buffer.write(data[:end])"
)
"""Omits the blocks of zeros that end an archive: data after them would not be read."""


def honest(_number: int, line: str) -> Sequence[str]:
    """Run the line in the user's shell, as sshd does."""
    return "sh", "-c", line


def after(sessions: int, owned: Sequence[str]) -> Shell:
    """Run so many sessions honestly, and all later ones as `owned`."""
    return lambda number, line: honest(number, line) if number < sessions else owned


def noisy(first: str) -> Shell:
    """Run this line of the shell first, like an rc file that prints."""
    return lambda _number, line: ("sh", "-c", f'{first}\nexec sh -c "$1"', "sh", line)


class _Run(Run):
    def _provisioner(self, opened: Opened) -> Provisioner:
        return _Elsewhere(super()._provisioner(opened))  # type: ignore[return-value]


class Market(Sandbox):
    """A marketplace in which the image of an order may name the port of its SSH."""

    _run_type = _Run


class _Elsewhere:
    """Sends orders of the tests' machines there, and leaves the others to the real provisioner."""

    def __init__(self, real: Provisioner) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def reserve(self, plan: RoomPlan) -> Ports:
        if not plan.image.startswith(_IMAGE):
            return await self._real.reserve(plan)
        return Ports("127.0.0.1", {22: int(plan.image.removeprefix(_IMAGE))}, None)


def at(port: int) -> str:
    """The image of an order whose SSH is at this port."""
    return f"{_IMAGE}{port}"


def tools(folder: Path, *without: str) -> Path:
    """A folder with all programs of the usual PATH except these."""
    folder.mkdir(parents=True)
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).glob("*") if Path(place).is_dir() else ():
            if program.name not in without and not (folder / program.name).exists():
                (folder / program.name).symlink_to(program)
    return folder


class Machine:
    """The machine. `shell` runs its sessions; `program` replaces one of its programs.

    Args:
        folder: its files; `home` in it is the renter's.
        path: the folder with its original programs.
        env: additional or changed variables of its sessions.
    """

    def __init__(self, folder: Path, path: Path | str, *, home: str = "home", **env: str) -> None:
        self.home, self._owned = folder / home, folder / "owned"
        self.home.mkdir(parents=True)
        self._owned.mkdir()
        self._mark = f"hostile:{folder}"
        self.env = {
            "PATH": f"{self._owned}:{path}", "HOME": str(self.home), "USER": "root",
            "SHELL": "/bin/sh", "LANG": "C.UTF-8", MARKER: self._mark, **env,
        }  # fmt: skip
        self.shell: Shell = honest
        self.lets_in = True
        self.most_sessions: int | None = None
        """Like MaxSessions of sshd: the most concurrent sessions of a connection."""
        self.lines: list[str] = []
        """The commands, one a session."""
        self.offered: list[str] = []
        """The fingerprints of the keys that were offered."""
        self.asked: list[str] = []
        """Other requests of sessions: an agent, a terminal, variables."""
        self._guests: dict[asyncssh.SSHServerConnection, int] = {}
        self._loop = Loop()
        self._host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.port = 0
        self.open()

    @property
    def image(self) -> str:
        """The image of an order with this machine."""
        return at(self.port)

    @property
    def work(self) -> Path:
        """The working folder `w`."""
        return self.home / "work" / "w"

    def program(self, name: str, script: str) -> Path:
        """Replace a program; `$REAL` is the original."""
        path = self._owned / name
        real = shlex.quote(shutil.which(name, path=self.env["PATH"].split(":", 1)[1]) or "false")
        path.write_text(f"#!/bin/sh\nREAL={real}\n{script}\n")
        path.chmod(0o755)
        return path

    def archive(self, data: bytes, *, then: str = "", alone: bool = False) -> None:
        """Make its tar write this, then the real output, then this again.

        Args:
            data: members, without the end of an archive.
            then: a line of the shell that writes more instead of the rest.
            alone: without the real output.
        """
        file = self._owned / "archive"
        file.write_bytes(data)
        real = "" if alone else f'"$REAL" "$@" | {shlex.quote(sys.executable)} -ISc {_OPEN_ENDED}; '
        rest = then or f'{real}cat "{file}"; head -c 10240 /dev/zero'
        self.program(
            "tar",
            'for word in "$@"; do case "$word" in --create|-c*|-[!-]*c*) own=1 ;; esac; done\n'
            f'[ "$own" ] || exec "$REAL" "$@"\n: > "{file}.sent"\n'
            f'{{ cat "{file}"; {rest}; }} 2> /dev/null |\n'
            'case "$*" in -*z*f*) gzip -c ;; *) cat ;; esac',
        )

    @property
    def archived(self) -> bool:
        """True if an archive of its owner has been sent."""
        return (self._owned / "archive.sent").exists()

    def open(self) -> None:
        """Listen on the same port as before."""
        self._acceptor = self._loop.run(self._listen())
        self.port = self._acceptor.get_port()

    def shut(self, host_key: bool = False) -> None:
        """Refuse connections and cut existing ones; it may come back with another key."""
        self._loop.run(self._leave())
        if host_key:
            self._host_key = asyncssh.generate_private_key("ssh-ed25519")

    def close(self) -> None:
        """End all its processes."""
        self.shut()
        end_processes({self._mark: self.home})
        self._loop.run(_over())
        self._loop.close()

    async def _listen(self) -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1", self.port, server_factory=lambda: _Guest(self), encoding=None,
            server_host_keys=[self._host_key], line_editor=False, agent_forwarding=True,
            server_version="OpenSSH_9.2p1", reuse_address=True,
        )  # fmt: skip

    async def _leave(self) -> None:
        self._acceptor.close()
        for guest in list(self._guests):
            guest.abort()
        await self._acceptor.wait_closed()

    async def serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """One session."""
        channel, connection = process.channel, process.channel.get_connection()
        line = (process.command or "") if process.subsystem is None else process.subsystem
        number = len(self.lines)
        self.lines.append(line)
        self.asked += [f"variable {name}" for name in channel.get_environment()]
        self.asked += ["terminal"] * (process.term_type is not None)
        self.asked += ["agent"] * (channel.get_agent_path() is not None)
        words = [_SFTP] if process.subsystem is not None else self.shell(number, line)
        try:
            if words:
                process.exit(await self._run(process, words))
            else:
                connection.abort()
        finally:
            if connection in self._guests:
                self._guests[connection] -= 1

    async def _run(
        self, process: asyncssh.SSHServerProcess[bytes], words: Sequence[str]
    ) -> int:  # fmt: skip
        pipes = [os.pipe() for _ in range(2)]
        child = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.PIPE, stdout=pipes[0][1], stderr=pipes[1][1],
            env=self.env, cwd=self.home, start_new_session=True,
        )  # fmt: skip
        for _, theirs in pipes:
            os.close(theirs)
        feed = asyncio.ensure_future(_feed(process.stdin, child.stdin))
        sinks = process.stdout, process.stderr
        await asyncio.gather(*(_drain(ours, sink) for (ours, _), sink in zip(pipes, sinks)))
        code = await child.wait()
        feed.cancel()
        return code if code >= 0 else 128 - code


async def _over() -> None:
    """True if every session has seen its end."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=_ENDS_WITHIN_S)
    for each in left:
        each.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def _feed(source: Any, sink: Any) -> None:
    """Pass on the renter's input."""
    with contextlib.suppress(OSError, asyncssh.Error):
        while data := await source.read(_CHUNK):
            sink.write(data)
            await sink.drain()
    sink.close()


async def _drain(source: int, sink: Any) -> None:
    """Pass on a program's output; if the renter is gone, the program finds its pipe closed."""
    reader = asyncio.StreamReader()
    pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(source, "rb", 0)
    )
    try:
        with contextlib.suppress(OSError, asyncssh.Error):
            while data := await reader.read(_CHUNK):
                sink.write(data)
                await sink.drain()
    finally:
        pipe.close()


class _Session(asyncssh.SSHServerProcess[bytes]):
    """A session with the files of the machine's server, as asyncssh would serve the tests' own."""

    def subsystem_requested(self, subsystem: str) -> bool:
        return subsystem == "sftp"

    def session_started(self) -> None:
        assert self._chan is not None
        assert self._conn is not None
        errors = asyncssh.SSHWriter(self, self._chan, EXTENDED_DATA_STDERR)
        streams = asyncssh.SSHReader(self, self._chan), asyncssh.SSHWriter(self, self._chan)
        self._conn.create_task(self._start_process(*streams, errors))  # type: ignore[arg-type]


class _Guest(asyncssh.SSHServer):
    """One connection."""

    _connection: asyncssh.SSHServerConnection

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._machine._guests[conn] = 0

    def connection_lost(self, exc: Exception | None) -> None:
        self._machine._guests.pop(self._connection, None)

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        self._machine.offered.append(key.get_fingerprint())
        return self._machine.lets_in

    def connection_requested(self, *_where: Any) -> bool:
        return True

    def session_requested(self) -> Any:
        machine = self._machine
        if machine.most_sessions == machine._guests[self._connection]:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "open failed")
        machine._guests[self._connection] += 1
        return _Session(machine.serve, None, 3, allow_scp=False)


@contextlib.contextmanager
def port_that(answers: Callable[[socket.socket], object]) -> Iterator[int]:
    """A port without an SSH server: `answers` handles each connection in a thread."""
    taken: list[socket.socket] = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                taken.append(listener.accept()[0])
                threading.Thread(target=serve, args=(taken[-1],), daemon=True).start()

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            answers(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            for each in taken:
                each.close()


def busybox(folder: Path) -> Path:
    """A folder with the programs of busybox only."""
    folder.mkdir(parents=True)
    program = str(shutil.which("busybox"))
    names = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)
    for name in names.stdout.split():
        (folder / name).symlink_to(program)
    return folder
