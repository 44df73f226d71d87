"""Processes and their ends of pipes and terminals on the event loop, without asyncio's own.

uvloop's subprocesses report neither exit nor end of output while a grandchild lives, and asyncio's
need a watcher that differs by version; `Popen` and a waiting thread are the same everywhere.
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
    """A process in a session of its own. Starting it takes the loop's time (1-2 ms)."""

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
        self._process = subprocess.Popen(  # noqa: S603 - running what the renter says is the purpose
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

        def tell() -> None:
            if not self.exited.done():
                self.exited.set_result(code)

        # The loop may be closed already when the marketplace stops.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(tell)

    def signal_group(self, name: str) -> None:
        """Send a signal, named as SSH names it, to the process and its group."""
        number = getattr(signal, f"SIG{name}", None)
        if number is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)


def _default_signals(user: int | None) -> list[str]:
    """Words before argv that give a child the default SIGINT, SIGQUIT and SIGHUP.

    A server started in the background by a shell without job control inherits them ignored, under
    nohup the last of them, exec keeps that, and Ctrl-C would die in every shell below it, and what
    runs in a terminal would outlive it. The command line's server installs
    handlers, which exec resets; where this runs inside somebody else's process, their signals are
    not ours to set, and a short Python sets them on the way.
    """
    ours = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
    ignored = [s for s in ours if signal.getsignal(s) == signal.SIG_IGN]
    if not ignored:
        return []
    if user is not None:  # who may not be able to enter the folder that this Python is in
        return ["/usr/bin/env", "--default-signal"]
    code = (
        "import os,signal,sys\n"
        f"for s in {[int(s) for s in ignored]}: signal.signal(s, signal.SIG_DFL)\n"
        "os.execvp(sys.argv[1], sys.argv[1:])"
    )
    return [sys.executable, "-I", "-S", "-c", code]


def resize(fd: int, columns: int, rows: int, x_pixels: int, y_pixels: int) -> None:
    """Give a terminal a size."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, x_pixels, y_pixels))


async def read(fd: int) -> bytes:
    """Some bytes of a non-blocking descriptor; none at its end."""
    while True:
        try:
            return os.read(fd, _CHUNK)
        except BlockingIOError:
            await _readable(fd)
        except OSError:  # EIO: nobody has the other side of the terminal open any more
            return b""


async def write_all(fd: int, data: bytes) -> None:
    """All of the bytes to a non-blocking descriptor; OSError where nobody reads it any more."""
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
