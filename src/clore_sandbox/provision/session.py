"""One SSH session of a room: a shell or a command, with or without a terminal, as sshd does it.

Promises: bytes pass unchanged both ways and with back pressure; the exit status or signal reaches
the client after the last byte; half-close works. Without a terminal, a client that goes away leaves
its command running (as sshd does); with one, the terminal hangs up.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import termios
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional, cast

import asyncssh

from clore_sandbox.provision.child import Child, read, write_all

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Shell", "Streams", "serve_session"]

_CHUNK = 65_536
_CANNOT_START = 127


@dataclass(frozen=True)
class Shell:
    """What sessions of a room run, and in which surroundings."""

    env: Mapping[str, str]
    home: str

    def argv(self, command: Optional[str]) -> list[str]:
        """The login shell, or the user's shell with one command."""
        path = self.env["SHELL"]
        return [path, "-l"] if command is None else [path, "-c", command]


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


async def serve_session(shell: Shell, streams: Streams) -> None:
    """Run what the session asks for, and exit the channel as it exited."""
    channel = streams.channel
    env = {**channel.get_environment(), **shell.env}
    argv = shell.argv(channel.get_command())
    terminal = channel.get_terminal_type()
    try:
        if terminal is None:
            code = await _without_terminal(argv, env, streams)
        else:
            code = await _with_terminal(argv, {**env, "TERM": terminal}, streams)
    except OSError as exc:
        # The home folder is gone, or the machine is out of processes or descriptors.
        with contextlib.suppress(OSError, asyncssh.Error):
            streams.stderr.write(f"{exc.strerror}\n".encode())
        code = _CANNOT_START
    if code < 0:
        channel.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
    else:
        channel.exit(code)


async def _without_terminal(argv: list[str], env: Mapping[str, str], streams: Streams) -> int:
    with contextlib.ExitStack() as ours:
        with contextlib.ExitStack() as theirs:
            stdin = _pipe(theirs, ours, write=True)
            stdout, stderr = _pipe(theirs, ours), _pipe(theirs, ours)
            child = Child(
                argv,
                env=env,
                cwd=env["HOME"],
                stdin=stdin.theirs,
                stdout=stdout.theirs,
                stderr=stderr.theirs,
            )
        feed = asyncio.ensure_future(_feed(streams.stdin, stdin, child))
        try:
            await asyncio.gather(
                _drain(stdout.ours, streams.stdout), _drain(stderr.ours, streams.stderr)
            )
            return await child.exited
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


async def _feed(source: asyncssh.SSHReader[bytes], sink: _Pipe, child: Child) -> None:
    """The client's input to the process; its signals to the process's group."""
    with contextlib.suppress(OSError, asyncssh.Error):
        while True:
            try:
                data = await source.read(_CHUNK)
            except asyncssh.SignalReceived as exc:
                child.signal_group(exc.signal)
                continue
            except (asyncssh.TerminalSizeChanged, asyncssh.BreakReceived):
                continue
            if not data:
                break
            await write_all(sink.ours, data)
    sink.close()


async def _drain(source: int, sink: asyncssh.SSHWriter[bytes]) -> None:
    """The process's output to the client; when the client is gone, to nowhere."""
    while data := await read(source):
        with contextlib.suppress(OSError, asyncssh.Error):
            sink.write(data)
            await sink.drain()


async def _cancelled(task: asyncio.Future[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _resize(fd: int, columns: int, rows: int, x_pixels: int, y_pixels: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, x_pixels, y_pixels))


async def _with_terminal(argv: list[str], env: Mapping[str, str], streams: Streams) -> int:
    master, slave = os.openpty()
    try:
        try:
            tty = os.ttyname(slave)
            _resize(slave, *streams.channel.get_terminal_size())
            os.set_blocking(master, False)
            # The session's leader opens the terminal by name, which makes it its controlling one:
            # no preexec function, which is not safe in a process that has threads.
            attach = ["/bin/sh", "-c", 'exec "$@" <>"$0" >&0 2>&0', tty]
            child = Child([*attach, *argv], env={**env, "SSH_TTY": tty}, cwd=env["HOME"])
            # Our copy of the slave stays open until the child has its own, lest a first read
            # finds the terminal hung up.
            show = asyncio.ensure_future(_drain(master, streams.stdout))
            feed = asyncio.ensure_future(_type(streams.stdin, master, child))
            code = await child.exited
        finally:
            os.close(slave)
        # What is left on the screen is still to be shown; a background job may hold the terminal.
        await asyncio.wait({show}, timeout=0.2)
        await _cancelled(show)
        await _cancelled(feed)
        return code
    finally:
        os.close(master)


async def _type(source: asyncssh.SSHReader[bytes], master: int, child: Child) -> None:
    """Keystrokes and window changes to the terminal; it hangs up when the client goes."""
    with contextlib.suppress(OSError, asyncssh.Error):
        while True:
            try:
                data = await source.read(_CHUNK)
            except asyncssh.TerminalSizeChanged as exc:
                _resize(master, exc.width, exc.height, exc.pixwidth, exc.pixheight)
                continue
            except asyncssh.SignalReceived as exc:
                child.signal_group(exc.signal)
                continue
            except asyncssh.BreakReceived:
                continue
            if not data:
                break
            await write_all(master, data)
    if source.channel.is_closing():
        child.signal_group("HUP")
    else:
        # Only the client's input has ended (`ssh -tt … </dev/null`): what a terminal calls that.
        with contextlib.suppress(OSError):
            await write_all(master, b"\x04")
