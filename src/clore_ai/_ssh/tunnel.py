"""Forwards a local port to a port of a rented machine during a block, with ssh -L."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

from clore_ai._ssh import programs
from clore_ai._ssh.target import FORWARDING
from clore_ai._values.text import plain
from clore_ai.exceptions import TransportError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from clore_ai._ssh.target import Target

_UP_S = 20.0
_PAUSE_S = 0.05
_TRIES = 3
"""Another process may take the free port just before ssh does."""


@contextlib.contextmanager
def forward(target: Target, remote: int, local: int | None = None) -> Generator[int]:
    """The local port; see `Rental.forward`."""
    for left in reversed(range(_TRIES)):
        tunnel = _Tunnel(target, remote, local)
        try:
            while not tunnel.settled():
                time.sleep(_PAUSE_S)
            if tunnel.is_up(last=local is not None or not left):
                yield tunnel.port
                return
        finally:
            tunnel.end()


@contextlib.asynccontextmanager
async def forward_async(
    target: Target, remote: int, local: int | None = None
) -> AsyncGenerator[int]:
    """The local port; see `AsyncRental.forward`."""
    import asyncio  # slow to import, and `forward` needs none

    from clore_ai._ssh.async_programs import in_thread

    for left in reversed(range(_TRIES)):
        tunnel = _Tunnel(target, remote, local)
        try:
            while not tunnel.settled():  # noqa: ASYNC110 - another program's port sends no event
                await asyncio.sleep(_PAUSE_S)
            if tunnel.is_up(last=local is not None or not left):
                yield tunnel.port
                return
        finally:
            await in_thread(tunnel.end)


class _Tunnel:
    """An ssh process that forwards one port."""

    def __init__(self, target: Target, remote: int, local: int | None) -> None:
        self._what = f"port {remote} of order {target.order_id}"
        try:
            self.port = _free_port(local or 0)
        except (OSError, OverflowError) as exc:
            raise TransportError(
                f"Can't reach {self._what}: local port {local} is taken or not allowed."
            ) from exc
        forward = ("-L", f"127.0.0.1:{self.port}:127.0.0.1:{remote}")
        self._until = time.monotonic() + _UP_S
        try:
            self._process = programs.start(
                target.ssh(None, *FORWARDING, *forward), stdout=subprocess.DEVNULL
            )
        except OSError as exc:
            raise TransportError(
                f"Can't reach {self._what}: ssh can't be started ({exc.strerror})."
            ) from exc
        self._up = False

    def settled(self) -> bool:
        """Is it certain whether the port is up?"""
        if self._process.poll() is not None or time.monotonic() > self._until:
            return True
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            self._up = self._process.poll() is None
        return self._up

    def is_up(self, *, last: bool) -> bool:
        """Is the port up? If not, and this was the last try, the error is raised."""
        if self._up or not last:
            return self._up
        why = plain(self._stderr()) or "no answer in time"
        raise TransportError(f"Can't reach {self._what}: {why}")

    def end(self, _stopped: object = None) -> None:
        """End ssh with all its children."""
        programs.end(self._process, signal.SIGTERM)

    def _stderr(self) -> bytes:
        """The errors that ssh has written so far."""
        pipe = self._process.stderr
        if pipe is None:  # pragma: no cover - it was asked for
            return b""
        os.set_blocking(pipe.fileno(), False)
        with contextlib.suppress(BlockingIOError):
            return os.read(pipe.fileno(), 4096)
        return b""


def _free_port(wanted: int) -> int:
    """`wanted`, or for 0 any free port; another process may take it at once."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", wanted))
        port: int = sock.getsockname()[1]
        return port
