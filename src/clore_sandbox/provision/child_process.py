"""Child processes on the event loop, and non-blocking reads and writes of their descriptors.

uvloop's subprocesses report neither exit nor end of output while a grandchild lives, and asyncio's
need a watcher that differs by version; `Popen` and a waiting thread work everywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Child", "read", "resize", "write_all"]

_CHUNK = 65_536


class Child:
    """A process in its own session. Starting it blocks the loop for 1-2 ms."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        stdin: int | None = subprocess.DEVNULL,
        stdout: int | None = subprocess.DEVNULL,
        stderr: int | None = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
        user: int | None = None,
    ) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - running the renter's command is the purpose
            [*_default_signals(user), *argv],
            env=dict(env),
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            pass_fds=pass_fds,
            user=user,
            group=user,
            extra_groups=None if user is None else (),
        )
        self.pid = self._process.pid
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        threading.Thread(target=self._wait, args=(asyncio.get_running_loop(),), daemon=True).start()

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        code = self._process.wait()

        def set_exited() -> None:
            if not self.exited.done():
                self.exited.set_result(code)

        # When the marketplace stops, the loop may already be closed.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(set_exited)

    def signal_group(self, name: str) -> None:
        """Send a signal, by its SSH name, to the process and its group."""
        number = getattr(signal, f"SIG{name}", None)
        if number is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)


def _default_signals(user: int | None) -> list[str]:
    """Words before argv that give a child the default SIGINT, SIGQUIT and SIGHUP.

    A server that a shell without job control starts in the background inherits ignored signals
    (under nohup SIGHUP), and exec keeps them: Ctrl-C would not work in its shells, and programs
    would outlive their terminal. The command line's server installs handlers, which exec resets.
    In another program's process this package must not change signals; there a short Python script
    resets them in the child.
    """
    ours = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
    ignored = [s for s in ours if signal.getsignal(s) == signal.SIG_IGN]
    if not ignored:
        return []
    if user is not None:  # the user may not be able to run this Python
        return ["/usr/bin/env", "--default-signal"]
    code = (
        "import os,signal,sys\n"
        f"for s in {[int(s) for s in ignored]}: signal.signal(s, signal.SIG_DFL)\n"
        "os.execvp(sys.argv[1], sys.argv[1:])"
    )
    return [sys.executable, "-I", "-S", "-c", code]


def resize(fd: int, columns: int, rows: int, x_pixels: int, y_pixels: int) -> None:
    """Set a terminal's size."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, x_pixels, y_pixels))


async def read(fd: int) -> bytes:
    """Read some bytes of a non-blocking descriptor; none at its end."""
    while True:
        try:
            return os.read(fd, _CHUNK)
        except BlockingIOError:
            await _readable(fd)
        except OSError:  # EIO: the other side of the terminal is closed
            return b""


async def write_all(fd: int, data: bytes) -> None:
    """Write all bytes to a non-blocking descriptor; OSError if nobody reads it any more."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            await _writable(fd)


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


async def _writable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(fd)
