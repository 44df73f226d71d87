"""One SSH session of a room: a shell or a command, with or without a terminal, as sshd does it.

Promises: bytes pass unchanged both ways and with back pressure; the exit status or signal reaches the
client after the last byte; half-close works. Without a terminal, a client that goes away leaves its
command running (as sshd does); with one, the terminal hangs up.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import sys
import termios
from typing import TYPE_CHECKING, Callable, Optional, cast

import asyncssh

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Shell", "serve_session", "spawn_prefix"]

_CHUNK = 65_536
#: sshd's own word for it would be the system's message.
_CANNOT_START = 127


class Shell:
    """What a session starts: argv for a login shell or one command, and its surroundings."""

    def __init__(self, env: Mapping[str, str], home: str) -> None:
        self.env = dict(env)
        self.home = home
        self.path = self.env["SHELL"]

    def argv(self, command: Optional[str]) -> list[str]:
        """The login shell, or the user's shell with one command."""
        return [self.path, "-l"] if command is None else [self.path, "-c", command]


def spawn_prefix() -> list[str]:
    """Words before argv that give a child the default SIGINT and SIGQUIT.

    A server started in the background by a shell without job control inherits them ignored, exec
    keeps that, and Ctrl-C would die in every shell below it. The command line's server installs
    handlers, which exec resets; where this runs inside somebody else's process, their signals are
    not ours to set, and a short Python sets them on the way.
    """
    ignored = [s for s in (signal.SIGINT, signal.SIGQUIT) if signal.getsignal(s) == signal.SIG_IGN]
    if not ignored:
        return []
    code = (
        "import os,signal,sys\n"
        f"for s in {[int(s) for s in ignored]}: signal.signal(s, signal.SIG_DFL)\n"
        "os.execvp(sys.argv[1], sys.argv[1:])"
    )
    return [sys.executable, "-I", "-S", "-c", code]


async def serve_session(
    shell: Shell,
    stdin: asyncssh.SSHReader[bytes],
    stdout: asyncssh.SSHWriter[bytes],
    stderr: asyncssh.SSHWriter[bytes],
) -> None:
    """Run what the session asks for, and exit the channel as it exited."""
    channel = cast("asyncssh.SSHServerChannel[bytes]", stdin.channel)
    env = {**dict(channel.get_environment()), **shell.env}
    try:
        if channel.get_terminal_type() is None:
            code = await _without_terminal(shell, env, channel.get_command(), stdin, stdout, stderr)
        else:
            env["TERM"] = channel.get_terminal_type() or "dumb"
            code = await _with_terminal(shell, env, channel, stdin, stdout)
    except OSError as exc:
        # The home folder is gone, or the machine is out of processes or descriptors.
        with contextlib.suppress(OSError, asyncssh.Error):
            stderr.write(f"{exc.strerror}\n".encode())
        code = _CANNOT_START
    if code < 0:
        name = signal.Signals(-code).name.removeprefix("SIG")
        channel.exit_with_signal(name)
    else:
        channel.exit(code)


async def _without_terminal(
    shell: Shell,
    env: Mapping[str, str],
    command: Optional[str],
    stdin: asyncssh.SSHReader[bytes],
    stdout: asyncssh.SSHWriter[bytes],
    stderr: asyncssh.SSHWriter[bytes],
) -> int:
    process = await asyncio.create_subprocess_exec(
        *spawn_prefix(),
        *shell.argv(command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=env,
        cwd=shell.home,
        start_new_session=True,
    )
    assert process.stdin is not None  # noqa: S101 - all three were asked for
    assert process.stdout is not None  # noqa: S101
    assert process.stderr is not None  # noqa: S101
    feed = asyncio.ensure_future(_feed(stdin, process.stdin, process.pid))
    try:
        await asyncio.gather(_drain(process.stdout, stdout), _drain(process.stderr, stderr))
        return await process.wait()
    finally:
        feed.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await feed


async def _feed(source: asyncssh.SSHReader[bytes], sink: asyncio.StreamWriter, pid: int) -> None:
    """The client's input to the process; its signals to the process's group."""
    with contextlib.suppress(OSError, asyncssh.Error):
        while True:
            try:
                data = await source.read(_CHUNK)
            except asyncssh.SignalReceived as exc:
                _signal_group(pid, exc.signal)
                continue
            except asyncssh.TerminalSizeChanged:
                continue
            if not data:
                break
            sink.write(data)
            await sink.drain()
    sink.close()


async def _drain(source: asyncio.StreamReader, sink: asyncssh.SSHWriter[bytes]) -> None:
    """The process's output to the client; when the client is gone, to nowhere."""
    while data := await source.read(_CHUNK):
        with contextlib.suppress(OSError, asyncssh.Error):
            sink.write(data)
            await sink.drain()


def _signal_group(pid: int, name: str) -> None:
    number = getattr(signal, f"SIG{name}", None)
    if number is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)


def _resize(fd: int, columns: int, rows: int, x_pixels: int, y_pixels: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, x_pixels, y_pixels))


async def _with_terminal(
    shell: Shell,
    env: Mapping[str, str],
    channel: asyncssh.SSHServerChannel[bytes],
    stdin: asyncssh.SSHReader[bytes],
    stdout: asyncssh.SSHWriter[bytes],
) -> int:
    master, slave = os.openpty()
    try:
        tty = os.ttyname(slave)
        _resize(master, *channel.get_terminal_size())
        # The session's leader opens the terminal by name, and so it becomes its controlling one.
        # Without a preexec function, which is not safe in a process that has threads.
        process = await asyncio.create_subprocess_exec(
            *spawn_prefix(),
            "/bin/sh",
            "-c",
            'exec "$@" <"$0" >"$0" 2>&1',
            tty,
            *shell.argv(channel.get_command()),
            env={**env, "SSH_TTY": tty},
            cwd=shell.home,
            start_new_session=True,
        )
    except BaseException:
        os.close(master)
        raise
    finally:
        os.close(slave)
    os.set_blocking(master, False)
    loop = asyncio.get_running_loop()
    feed = asyncio.ensure_future(_type(stdin, master, process.pid))
    try:
        done = asyncio.ensure_future(process.wait())
        await _show(loop, master, stdout, done)
        return await done
    finally:
        feed.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await feed
        os.close(master)


async def _type(source: asyncssh.SSHReader[bytes], master: int, pid: int) -> None:
    """Keystrokes and window changes to the terminal; it hangs up when the client goes."""
    with contextlib.suppress(OSError, asyncssh.Error):
        while not source.at_eof():
            try:
                data = await source.read(_CHUNK)
            except asyncssh.TerminalSizeChanged as exc:
                _resize(master, exc.width, exc.height, exc.pixwidth, exc.pixheight)
                continue
            except asyncssh.SignalReceived as exc:
                _signal_group(pid, exc.signal)
                continue
            except asyncssh.BreakReceived:
                continue
            while data:
                try:
                    data = data[os.write(master, data) :]
                except BlockingIOError:
                    await _ready(master, asyncio.get_running_loop().add_writer)
    if source.channel.is_closing():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGHUP)
    else:
        # The client closed its side only (`ssh -tt … </dev/null`): what a terminal calls the end.
        with contextlib.suppress(OSError):
            os.write(master, b"\x04")


async def _show(
    loop: asyncio.AbstractEventLoop,
    master: int,
    sink: asyncssh.SSHWriter[bytes],
    done: asyncio.Future[int],
) -> None:
    """The screen to the client, until the process is done and nothing is left to read."""
    while True:
        try:
            data = os.read(master, _CHUNK)
        except BlockingIOError:
            if done.done():
                return
            readable = asyncio.ensure_future(_ready(master, loop.add_reader))
            await asyncio.wait({readable, done}, return_when=asyncio.FIRST_COMPLETED)
            readable.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await readable
            continue
        except OSError:  # EIO: nobody has the other side open any more
            await done
            return
        if not data:
            await done
            return
        with contextlib.suppress(OSError, asyncssh.Error):
            sink.write(data)
            await sink.drain()


async def _ready(fd: int, watch: Callable[[int, Callable[[], None]], None]) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    watch(fd, wake)
    try:
        await ready
    finally:
        (loop.remove_reader if watch == loop.add_reader else loop.remove_writer)(fd)
