"""Protocols of a built room and its builder, the same for every kind of isolation.

The SSH endpoint and the port forwards use rooms only through these: they start processes, connect,
and listen. All methods run on the marketplace's event loop; failures are `OSError`s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from clore_sandbox.provision import RoomPlan

__all__ = ["USER", "Builder", "CannotIsolate", "Interior", "Running", "Shell", "Size", "Terminal"]

USER = "root"
"""The renter's user in a room, as on the service."""

Size = tuple[int, int, int, int]
"""Columns, rows, and the same in pixels, as in asyncssh."""


class CannotIsolate(RuntimeError):  # noqa: N818 - a state, and the message says what to install
    """This machine cannot build rooms of this kind; the message says why in one sentence."""


@dataclass(frozen=True)
class Shell:
    """The shell and environment of a room's sessions.

    `files` is the command of the room's SFTP server; None: the marketplace serves the home folder.
    """

    env: Mapping[str, str]
    home: str
    files: Sequence[str] | None = None

    def argv(self, command: str | None) -> list[str]:
        """The login shell, or the user's shell with one command."""
        path = self.env["SHELL"]
        return [path, "-l"] if command is None else [path, "-c", command]


class Running(Protocol):
    """A process of a room, in its own session."""

    @property
    def exited(self) -> asyncio.Future[int]:
        """Its exit status; a negative signal number if a signal ended it."""
        ...

    def signal_group(self, name: str) -> None:
        """Send a signal, by its SSH name, to the process and its group."""


@dataclass(frozen=True)
class Terminal:
    """A process on its own terminal. The caller closes `master` and `slave`."""

    master: int
    process: Running
    slave: int | None = None
    """The other side, if the marketplace has it open."""


class Interior(Protocol):
    """One built room."""

    @property
    def shell(self) -> Shell:
        """The shell of its sessions."""
        ...

    async def start(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        stdio: tuple[int, int, int],
        *,
        folder: str | None = None,
    ) -> Running:
        """Start a process on these descriptors, which the caller closes; by default in the home."""
        ...

    async def start_on_terminal(
        self, argv: Sequence[str], env: Mapping[str, str], size: Size
    ) -> Terminal:
        """Start a process in the home folder on a new terminal; `SSH_TTY` names it."""
        ...

    async def dial(self, host: str, port: int) -> socket.socket:
        """A non-blocking connection to `host` and `port` as seen from inside the room."""
        ...

    async def listen(self, host: str, port: int) -> Sequence[socket.socket]:
        """Bound sockets inside the room, one per address family; an empty host is every address."""
        ...

    def lead_out(self, public_ports: frozenset[int]) -> None:
        """Let these ports of 127.0.0.1 mean the same inside the room as outside."""

    async def end(self) -> None:
        """End every process of the room, and return when none is left."""


class Builder(Protocol):
    """Builds rooms of one kind."""

    async def open(self, left: Mapping[int, Path]) -> None:
        """Prepare, and end what a killed marketplace left in these rooms.

        Raises:
            CannotIsolate: This machine lacks something that rooms of this kind need.
        """

    async def prepare(self, plan: RoomPlan) -> None:
        """Do what may take long and leaves nothing behind; cancelled if the order ends."""

    async def build(self, plan: RoomPlan, folder: Path) -> Interior:
        """Build a room with its files in `folder`, which the caller removes.

        Raises:
            OSError: It could not be built; nothing is left behind.
        """
        ...

    async def run_command(self, interior: Interior, plan: RoomPlan, log: int) -> None:
        """Start the order's own processes, with their output to `log`."""

    async def close(self) -> None:
        """Clean up, after all rooms have ended."""
