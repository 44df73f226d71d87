"""The default provisioner: a room is a home folder and the processes that carry its marker.

Needs nothing but pip and runs as whoever runs the marketplace: it imitates a rented machine, it
does not fence one in. Two rooms share the machine's ports, so two that both bind 8888 collide.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import asyncssh

from clore_sandbox.provision import Ports, RoomPlan, nvidia_smi
from clore_sandbox.provision.child import Child
from clore_sandbox.provision.door import USER, Door, open_door
from clore_sandbox.provision.proxy import forward
from clore_sandbox.provision.session import Shell
from clore_sandbox.provision.sweep import MARKER, end_processes

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ProcessProvisioner"]

SSH_PORT = 22
#: Nothing of the marketplace's own environment reaches a room but these: keys must not.
_PASSED_ON = ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass
class _Room:
    plan: RoomPlan
    folder: Path
    sockets: dict[int, socket.socket]
    servers: list[asyncio.Server] = field(default_factory=list[asyncio.Server])
    door: Optional[Door] = None
    command: Optional[Child] = None

    @property
    def home(self) -> Path:
        return self.folder / "home"


class ProcessProvisioner:
    """Rooms under `folder`; `state` names this marketplace in the marker of their processes."""

    def __init__(self, folder: Path, *, state: str, host: str, host_key: str) -> None:
        self._folder = folder
        self._state = state
        self._host = host
        self._host_key = asyncssh.import_private_key(host_key)
        self._rooms: dict[int, _Room] = {}
        self._sweeping: dict[str, Path] = {}
        self._sweep: Optional[asyncio.Task[None]] = None

    def _marker(self, order: int) -> str:
        return f"{self._state}:{order}"

    def _room_folder(self, order: int) -> Path:
        return self._folder / str(order)

    async def open(self) -> None:
        """End the processes of rooms that a killed marketplace left behind."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        left = [int(entry.name) for entry in self._folder.iterdir() if entry.name.isdigit()]
        if left:
            await asyncio.to_thread(
                end_processes, {self._marker(order): self._room_folder(order) for order in left}
            )

    async def reserve(self, plan: RoomPlan) -> Ports:
        """Bind a random public port for each port of the order; bound, not listening: refused."""
        sockets: dict[int, socket.socket] = {}
        try:
            for inner in plan.ports:
                sockets[inner] = sock = socket.socket()
                sock.bind((self._host, 0))
        except OSError:
            for sock in sockets.values():
                sock.close()
            raise
        self._rooms[plan.order] = _Room(plan, self._room_folder(plan.order), sockets)
        public = {inner: sock.getsockname()[1] for inner, sock in sockets.items()}
        http = next(((i, public[i]) for i, kind in plan.ports.items() if kind == "http"), None)
        tcp = {i: public[i] for i, kind in plan.ports.items() if kind == "tcp"}
        # An address that listens everywhere is reached from here by loopback.
        host = "127.0.0.1" if self._host in ("0.0.0.0", "::") else self._host  # noqa: S104 - compared
        return Ports(host, tcp, http)

    async def boot(self, order: int) -> None:
        """Furnish the room, open its ports, run its command."""
        room = self._rooms.get(order)
        if room is None:
            return
        shell = await asyncio.to_thread(self._furnish, room)
        try:
            await self._open_ports(room, shell)
        except OSError:
            # Its sockets were closed under it: the order was cancelled while it booted.
            if self._rooms.get(order) is room:
                raise
        if self._rooms.get(order) is not room:
            await self._clear(room)
        elif room.plan.command:
            self._run_command(room, shell, room.plan.command)

    async def _open_ports(self, room: _Room, shell: Shell) -> None:
        for inner, sock in room.sockets.items():
            http = room.plan.ports[inner] == "http"
            if inner != SSH_PORT or http:
                room.servers.append(await forward(sock, inner, http=http))
            elif room.plan.ssh_answers:
                room.door = await open_door(sock, room.plan, shell, self._host_key)

    def _furnish(self, room: _Room) -> Shell:
        tools = room.folder / "bin"
        for folder in (room.home, tools):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        nvidia_smi.install(tools, room.plan.gpus)
        shell = "/bin/bash" if Path("/bin/bash").exists() else "/bin/sh"
        path = f"{tools}:{os.environ.get('PATH', os.defpath)}"
        env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        env |= {"HOME": str(room.home), "USER": USER, "LOGNAME": USER, "SHELL": shell, "PATH": path}
        env |= room.plan.env
        env[MARKER] = self._marker(room.plan.order)
        # A login shell reads /etc/profile, which sets PATH anew on Debian.
        profile = room.home / ".profile"
        if not profile.exists():
            profile.write_text(
                f"PATH='{path}'\nexport PATH\nPS1='root@clore-{room.plan.order}:\\w# '\n",
                encoding="utf-8",
            )
        return Shell(env, str(room.home))

    def _run_command(self, room: _Room, shell: Shell, command: str) -> None:
        log = os.open(room.folder / "command.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            room.command = Child(
                shell.argv(command), env=shell.env, cwd=shell.home, stdout=log, stderr=log
            )
        finally:
            os.close(log)

    async def clear(self, order: int) -> None:
        """Close the ports, end the processes, remove the folder."""
        room = self._rooms.pop(order, None)
        if room is not None:
            await self._clear(room)

    async def _clear(self, room: _Room) -> None:
        if room.door is not None:
            await room.door.close()
        for server in room.servers:
            server.close()
        for sock in room.sockets.values():
            sock.close()
        await self._end_processes(room)
        if room.command is not None:
            await room.command.exited
        await asyncio.to_thread(shutil.rmtree, room.folder, ignore_errors=True)

    async def _end_processes(self, room: _Room) -> None:
        """Sweep; rooms that are cleared at the same time share one reading of /proc."""
        self._sweeping[self._marker(room.plan.order)] = room.folder
        if self._sweep is None:
            self._sweep = asyncio.ensure_future(self._sweep_all())
        await asyncio.shield(self._sweep)

    async def _sweep_all(self) -> None:
        # What is asked for within this pause comes along; what comes later starts the next sweep.
        await asyncio.sleep(0.005)
        rooms, self._sweeping, self._sweep = self._sweeping, {}, None
        await asyncio.to_thread(end_processes, rooms)

    async def close(self) -> None:
        """Clear all rooms; their folders stay only in memory of nobody."""
        await asyncio.gather(*(self.clear(order) for order in list(self._rooms)))

    def rooms(self) -> Sequence[int]:
        """The orders that have a room."""
        return list(self._rooms)
