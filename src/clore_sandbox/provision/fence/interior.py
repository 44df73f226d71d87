"""What is behind a room's front door, whichever way the room is fenced in.

The SSH front end and the port forwarders know rooms only through these: they start processes in
them, and connect to and listen on their ports. All methods run on the marketplace's event loop;
what cannot be done is an `OSError`.
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
"""Who a renter is in a room, as on the service."""

Size = tuple[int, int, int, int]
"""Columns, rows, and the same in pixels, as asyncssh gives them."""


class CannotIsolate(RuntimeError):  # noqa: N818 - a state, and the message says what to install
    """This machine cannot build rooms of this kind; the message is one sentence that says why."""


@dataclass(frozen=True)
class Shell:
    """What sessions of a room run, and in which surroundings.

    `files` is the room's SFTP server; without one the marketplace itself serves the home folder.
    """

    env: Mapping[str, str]
    home: str
    files: Sequence[str] | None = None

    def argv(self, command: str | None) -> list[str]:
        """The login shell, or the user's shell with one command."""
        path = self.env["SHELL"]
        return [path, "-l"] if command is None else [path, "-c", command]


class Running(Protocol):
    """A process of a room, in a session of its own."""

    @property
    def exited(self) -> asyncio.Future[int]:
        """Its exit status; the negative of a signal's number where one ended it."""
        ...

    def signal_group(self, name: str) -> None:
        """Send a signal, named as SSH names it, to the process and its group."""


@dataclass(frozen=True)
class Terminal:
    """A process on a terminal of its own. Who has this closes `master` and calls `release`."""

    master: int
    process: Running
    slave: int | None = None
    """A copy of the other side, where the marketplace holds one."""


class Interior(Protocol):
    """One built room."""

    @property
    def shell(self) -> Shell:
        """What sessions run."""
        ...

    async def start(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        stdio: tuple[int, int, int],
        *,
        folder: str | None = None,
    ) -> Running:
        """Start a process on these descriptors, which the caller closes; in the home folder."""
        ...

    async def start_on_terminal(
        self, argv: Sequence[str], env: Mapping[str, str], size: Size
    ) -> Terminal:
        """Start a process in the home folder on a new terminal; `SSH_TTY` names it."""
        ...

    async def dial(self, host: str, port: int) -> socket.socket:
        """A non-blocking connection to where `host` and `port` lead from inside the room."""
        ...

    async def listen(self, host: str, port: int) -> Sequence[socket.socket]:
        """Bound sockets inside the room, one a family; an empty host is every address."""
        ...

    def meet(self, public_ports: frozenset[int]) -> None:
        """Make 127.0.0.1 and these ports mean inside the room what they mean outside."""

    async def end(self) -> None:
        """End every process of the room, and return when none is left."""


class Builder(Protocol):
    """Builds rooms of one kind."""

    async def open(self, left: Mapping[int, Path]) -> None:
        """Get ready, and end what a killed marketplace left in these rooms.

        Raises:
            CannotIsolate: This machine lacks what rooms of this kind need.
        """

    async def prepare(self, plan: RoomPlan) -> None:
        """What may take long and leaves nothing to end: given up where the order ends over it."""

    async def build(self, plan: RoomPlan, folder: Path) -> Interior:
        """A room whose files lie in `folder` (the marketplace removes it).

        Raises:
            OSError: It could not be built; nothing of it is left.
        """
        ...

    async def run_command(self, interior: Interior, plan: RoomPlan, log: int) -> None:
        """Start what runs in a room by itself, with its output to `log`."""

    async def close(self) -> None:
        """All rooms have ended: leave nothing behind."""
