"""`Rooms`, the provisioner: connects public ports, SSH endpoints and forwards to the rooms.

Promises: a reserved port refuses connections until its room has booted, and after it is cleared.
Clearing returns when nothing of the room is left, even if it was still booting.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from clore_sandbox.provision import Ports, RoomPlan
from clore_sandbox.provision.port_forward import Forward
from clore_sandbox.provision.watchdog import Watchdog, wait_for_watchdog

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from clore_sandbox.provision.address import PublicAddress
    from clore_sandbox.provision.fence.interior import Builder, Interior
    from clore_sandbox.provision.ssh.endpoint import Endpoint

__all__ = ["Rooms"]

# It is imported later, see `_ssh`; but a missing one must be reported at once.
if find_spec("asyncssh") is None:
    raise ModuleNotFoundError("No module named 'asyncssh'", name="asyncssh")

log = logging.getLogger("clore_sandbox")

SSH_PORT = 22


@dataclass
class _Room:
    plan: RoomPlan
    folder: Path
    sockets: dict[int, socket.socket]
    public: frozenset[int]
    lock: asyncio.Lock
    """Held while a room of the order is built or ended, since they share a folder."""
    preparing: asyncio.Task[None] | None = None
    interior: Interior | None = None
    endpoint: Endpoint | None = None
    forwards: list[Forward] = field(default_factory=list[Forward])


class Rooms:
    """Rooms in `folder`, reached at `address`, all with the same SSH host key.

    `state` identifies the marketplace; `keep`: the folder stays for the next run.
    """

    def __init__(
        self,
        builder: Builder,
        folder: Path,
        *,
        state: str,
        keep: bool,
        address: PublicAddress,
        host_key: str,
    ) -> None:
        self._builder = builder
        self._folder = folder
        self._address = address
        self._state, self._keep = state, keep
        self._watch: Watchdog | None = None
        self._host_key = host_key
        self._rooms: dict[int, _Room] = {}
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._left: dict[int, Path] = {}
        """Folders of an earlier run, until their orders are reserved again."""

    async def open(self) -> None:
        """Prepare; end what a killed marketplace with the same state left running.

        The files of an order that is reserved again are kept, if rooms of this kind have any.

        Raises:
            CannotIsolate: This machine lacks something that rooms of this kind need.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        await asyncio.to_thread(wait_for_watchdog, self._folder)
        self._left = {int(e.name): e for e in self._folder.iterdir() if e.name.isdigit()}
        await self._builder.open(self._left)

    async def reserve(self, plan: RoomPlan) -> Ports:
        """Bind a free public port for each port of the order; it refuses connections so far."""
        sockets: dict[int, socket.socket] = {}
        try:
            for inner in plan.ports:
                sockets[inner] = self._address.bind()
        except OSError:
            for sock in sockets.values():
                sock.close()
            raise
        public = {inner: sock.getsockname()[1] for inner, sock in sockets.items()}
        folder = self._left.pop(plan.order, self._folder / str(plan.order))
        lock = self._locks.setdefault(plan.order, asyncio.Lock())
        self._rooms[plan.order] = _Room(plan, folder, sockets, frozenset(public.values()), lock)
        self._share_public_ports()
        asyncio.get_running_loop().run_in_executor(None, _ssh)  # while the machine boots
        http = next(((i, public[i]) for i, kind in plan.ports.items() if kind == "http"), None)
        tcp = {i: public[i] for i, kind in plan.ports.items() if kind == "tcp"}
        return Ports(self._address.shown, tcp, http)

    def _share_public_ports(self) -> None:
        """Let every room's loopback lead to every public port, like the machine's own."""
        public = frozenset[int]().union(*(room.public for room in self._rooms.values()))
        for room in self._rooms.values():
            if room.interior is not None:
                room.interior.lead_out(public)

    async def boot(self, order: int) -> None:
        """Build the room, open its ports, run its command. If it fails, the ports stay closed."""
        room = self._rooms.get(order)
        if room is None or room.interior is not None or room.preparing is not None:
            return
        room.preparing = asyncio.ensure_future(self._builder.prepare(room.plan))
        try:
            await room.preparing
            async with room.lock:
                if self._rooms.get(order) is room:
                    if self._watch is None:
                        self._watch = Watchdog(self._folder, state=self._state, keep=self._keep)
                    room.interior = await self._builder.build(room.plan, room.folder)
                    self._share_public_ports()
                    await self._open_ports(room, room.interior)
                    await self._run_command(room, room.interior)
        except OSError as exc:
            # The order stays, as on the service, where some orders are never reachable.
            log.warning("order %d does not boot: %s", order, exc.strerror or exc)
        except asyncio.CancelledError:
            if not room.preparing.cancelled():
                raise  # it was not clear() that cancelled it
        finally:
            room.preparing = None

    async def _open_ports(self, room: _Room, interior: Interior) -> None:
        for inner, sock in room.sockets.items():
            http = room.plan.ports[inner] == "http"
            if inner != SSH_PORT or http:
                forward = Forward(_dial(interior, inner), http=http)
                await forward.open(sock)
                room.forwards.append(forward)
            elif room.plan.ssh_answers:
                open_endpoint = await asyncio.to_thread(_ssh)
                room.endpoint = await open_endpoint(sock, room.plan, interior, self._host_key)

    async def _run_command(self, room: _Room, interior: Interior) -> None:
        output = os.open(room.folder / "command.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            await self._builder.run_command(interior, room.plan, output)
        finally:
            os.close(output)

    async def clear(self, order: int) -> None:
        """Close the ports, end the processes, remove the folder."""
        room = self._rooms.pop(order, None)
        if room is None:
            return
        if room.preparing is not None:
            room.preparing.cancel()
        async with room.lock:
            if room.endpoint is not None:
                await room.endpoint.close()
            for forward in room.forwards:
                forward.close()
            for sock in room.sockets.values():
                sock.close()
            self._share_public_ports()
            if room.interior is not None:
                await room.interior.end()
            await asyncio.to_thread(_remove, room.folder)

    async def close(self) -> None:
        """Clear all rooms, and the folders of orders that were not reserved again."""
        await asyncio.gather(*(self.clear(order) for order in list(self._rooms)))
        for folder in self._left.values():
            await asyncio.to_thread(_remove, folder)
        if self._watch is not None:
            await self._watch.end()
        await self._builder.close()


def _ssh() -> Callable[[socket.socket, RoomPlan, Interior, str], Awaitable[Endpoint]]:
    """The SSH endpoint, imported with the first rental: the import doubles the start's time."""
    from clore_sandbox.provision.ssh.endpoint import open_endpoint

    return open_endpoint


def _dial(interior: Interior, port: int) -> Callable[[], Awaitable[socket.socket]]:
    return lambda: interior.dial("127.0.0.1", port)


def _remove(folder: Path) -> None:
    """Remove a room's files, whatever their modes are."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        # Top down: a folder must be readable to be listed. No process is left to race with.
        for at, folders, _ in os.walk(folder):
            for name in folders:
                path = Path(at, name)
                if not path.is_symlink():
                    path.chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)
