"""One SSH session of a room: a shell, a command or SFTP, with the behaviour of sshd.

Promises: bytes pass unchanged in both directions, with back pressure; the exit status or signal
reaches the client after the last byte; half-close works. Without a terminal, the command of a
client that disconnects continues to run (as with sshd); with one, the terminal hangs up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import asyncssh
from asyncssh.constants import EXTENDED_DATA_STDERR
from asyncssh.stream import SSHServerStreamSession

from clore_sandbox.provision.child_process import read, resize, write_all
from clore_sandbox.provision.ssh.sftp import HomeFiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from asyncssh.channel import SSHChannel

    from clore_sandbox.provision.fence.interior import Interior, Running

__all__ = ["RoomSession"]

_CHUNK = 65_536
_CANNOT_START = 127
_SFTP_VERSION = 3  # OpenSSH's


@dataclass(frozen=True)
class Streams:
    """The client's side of a session."""

    stdin: asyncssh.SSHReader[bytes]
    stdout: asyncssh.SSHWriter[bytes]
    stderr: asyncssh.SSHWriter[bytes]

    @property
    def channel(self) -> asyncssh.SSHServerChannel[bytes]:
        """The channel they belong to."""
        return cast("asyncssh.SSHServerChannel[bytes]", self.stdin.channel)


class RoomSession(SSHServerStreamSession[bytes]):
    """One session channel: a shell, a command, or SFTP."""

    def __init__(self, interior: Interior) -> None:
        # asyncssh leaves the type of its streams' data open.
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            self._serve, self._serve_home, sftp_version=_SFTP_VERSION
        )
        self._interior = interior

    def subsystem_requested(self, subsystem: str) -> bool:
        """SFTP is the only subsystem."""
        return subsystem == "sftp"

    def session_started(self) -> None:
        """Begin to serve."""
        chan, conn = self._chan, self._conn
        if (
            chan is None
            or conn is None
            or chan.get_subsystem() is None
            or self._interior.shell.files is None
        ):
            super().session_started()
        else:
            # asyncssh would serve the marketplace's own files instead of the room's.
            stderr = asyncssh.SSHWriter(self, chan, EXTENDED_DATA_STDERR)
            streams = asyncssh.SSHReader(self, chan), asyncssh.SSHWriter(self, chan), stderr
            conn.create_task(self._serve(*streams))

    def _serve_home(self, chan: SSHChannel[bytes]) -> asyncssh.SFTPServer:
        channel = cast("asyncssh.SSHServerChannel[bytes]", chan)
        return HomeFiles(channel, self._interior.shell.home)

    async def _serve(
        self,
        stdin: asyncssh.SSHReader[bytes],
        stdout: asyncssh.SSHWriter[bytes],
        stderr: asyncssh.SSHWriter[bytes],
    ) -> None:
        await _serve(self._interior, Streams(stdin, stdout, stderr))


async def _serve(interior: Interior, streams: Streams) -> None:
    """Run what the session requests, and pass on its exit status."""
    channel, shell = streams.channel, interior.shell
    env = {**channel.get_environment(), **shell.env}
    if channel.get_subsystem() is None:
        argv = shell.argv(channel.get_command())
    else:
        argv = list(shell.files or ())
    terminal = channel.get_terminal_type()
    try:
        if terminal is None:
            code = await _without_terminal(interior, argv, env, streams)
        else:
            code = await _with_terminal(interior, argv, {**env, "TERM": terminal}, streams)
    except OSError as exc:
        # The home folder is gone, or the machine has no processes or descriptors left.
        with contextlib.suppress(OSError, asyncssh.Error):
            streams.stderr.write(f"{exc.strerror}\n".encode())
        code = _CANNOT_START
    if code < 0:
        channel.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
    else:
        channel.exit(code)


async def _without_terminal(
    interior: Interior, argv: list[str], env: Mapping[str, str], streams: Streams
) -> int:
    with contextlib.ExitStack() as ours:
        with contextlib.ExitStack() as theirs:
            stdin = _pipe(theirs, ours, write=True)
            stdout, stderr = _pipe(theirs, ours), _pipe(theirs, ours)
            stdio = stdin.theirs, stdout.theirs, stderr.theirs
            process = await interior.start(argv, env, stdio)
        feed = asyncio.ensure_future(_feed(streams.stdin, stdin, process))
        try:
            await asyncio.gather(
                _drain(stdout.ours, streams.stdout), _drain(stderr.ours, streams.stderr)
            )
            return await process.exited
        finally:
            await _cancelled(feed)


@dataclass
class _Pipe:
    ours: int
    theirs: int
    open: bool = True

    def close(self) -> None:
        """Close our end, once."""
        if self.open:
            self.open = False
            os.close(self.ours)


def _pipe(
    theirs: contextlib.ExitStack, ours: contextlib.ExitStack, *, write: bool = False
) -> _Pipe:
    reader, writer = os.pipe()
    pipe = _Pipe(writer, reader) if write else _Pipe(reader, writer)
    theirs.callback(os.close, pipe.theirs)
    ours.callback(pipe.close)
    os.set_blocking(pipe.ours, False)
    return pipe


async def _feed(source: asyncssh.SSHReader[bytes], sink: _Pipe, process: Running) -> None:
    """Copy the client's input to the process, and its signals to the process's group."""
    with contextlib.suppress(OSError, asyncssh.Error):
        while True:
            try:
                data = await source.read(_CHUNK)
            except asyncssh.SignalReceived as exc:
                process.signal_group(exc.signal)
                continue
            except (asyncssh.TerminalSizeChanged, asyncssh.BreakReceived):
                continue
            if not data:
                break
            await write_all(sink.ours, data)
    sink.close()


async def _drain(source: int, sink: asyncssh.SSHWriter[bytes]) -> None:
    """Copy the process's output to the client; discard it once the client is gone."""
    while data := await read(source):
        with contextlib.suppress(OSError, asyncssh.Error):
            sink.write(data)
            await sink.drain()


async def _cancelled(task: asyncio.Future[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _with_terminal(
    interior: Interior, argv: list[str], env: Mapping[str, str], streams: Streams
) -> int:
    size = streams.channel.get_terminal_size()
    terminal = await interior.start_on_terminal(argv, env, size)
    master, process = terminal.master, terminal.process
    try:
        show = asyncio.ensure_future(_drain(master, streams.stdout))
        feed = asyncio.ensure_future(_type(streams.stdin, master, process))
        try:
            code = await process.exited
        finally:
            # Open until now: otherwise a first read could find the terminal hung up.
            if terminal.slave is not None:
                os.close(terminal.slave)
        # Show the remaining output; a background job may keep the terminal open.
        await asyncio.wait({show}, timeout=0.2)
        await _cancelled(show)
        await _cancelled(feed)
        return code
    finally:
        os.close(master)


async def _type(source: asyncssh.SSHReader[bytes], master: int, process: Running) -> None:
    """Pass keystrokes and window changes to the terminal; hang up when the client disconnects."""
    with contextlib.suppress(OSError, asyncssh.Error):
        while True:
            try:
                data = await source.read(_CHUNK)
            except asyncssh.TerminalSizeChanged as exc:
                resize(master, exc.width, exc.height, exc.pixwidth, exc.pixheight)
                continue
            except asyncssh.SignalReceived as exc:
                process.signal_group(exc.signal)
                continue
            except asyncssh.BreakReceived:
                continue
            if not data:
                break
            await write_all(master, data)
    if source.channel.is_closing():
        process.signal_group("HUP")
    else:
        # Only the client's input has ended (`ssh -tt … </dev/null`): send the terminal's Ctrl-D.
        with contextlib.suppress(OSError):
            await write_all(master, b"\x04")
