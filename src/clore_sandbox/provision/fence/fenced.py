"""`Fenced`: a room that is reached only through its first process (`_room_program.py`).

Promises: the room sends data, never commands. Descriptors from the room are accepted only if one
was requested, and closed otherwise; a connection from inside leads only to public ports of this
marketplace's orders. When the first process ends, everything that waits for the room ends too.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clore_sandbox.provision.fence.interior import Terminal
from clore_sandbox.provision.port_forward import join
from clore_sandbox.provision.sockets import dial, listen
from clore_sandbox.values.json_types import as_int, as_list, as_object, as_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from clore_sandbox.provision.fence.interior import Shell, Size
    from clore_sandbox.values.json_types import JsonObject

__all__ = ["Fenced", "Found", "packet_pair"]

_PACKET = 65_536
_QUEUE = 1 << 20
_DESCRIPTORS = 4
_LAST_CODE = 255
_LOOPBACK = "127.0.0.1"


def packet_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a connection to a room's first process."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


@dataclass(frozen=True)
class Found:
    """The programs and the home folder that the first process found."""

    programs: Sequence[str]
    home: str


class _Process:
    """A process in the room, by its process id there."""

    def __init__(self, room: Fenced, pid: int) -> None:
        self._room = room
        self._pid = pid
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def signal_group(self, name: str) -> None:
        """Send a signal, by its SSH name, to the process and its group."""
        number = getattr(signal, f"SIG{name}", None)
        if number is not None and not self.exited.done():
            with contextlib.suppress(OSError):
                self._room.send({"do": "signal", "pid": self._pid, "signal": int(number)})


@dataclass(frozen=True)
class _Answer:
    message: JsonObject
    descriptors: list[int]
    started: _Process | None = None
    """Created as the answer is read, since its exit may be in the next packet."""


class Fenced:
    """An `Interior` behind a packet socket; `end` ends its first process."""

    shell: Shell  # set by the builder, after `found`

    def __init__(self, control: socket.socket, end: Callable[[], Awaitable[None]]) -> None:
        control.setblocking(False)
        # A command line and its environment must fit into one packet.
        control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _QUEUE)
        self._control = control
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._found: asyncio.Future[Found] = self._loop.create_future()
        self._asked: dict[int, asyncio.Future[_Answer]] = {}
        self._number = 0
        self._running: dict[int, _Process] = {}
        self._led_out: frozenset[int] = frozenset()
        self._connections: set[asyncio.Task[None]] = set()
        self._loop.add_reader(control.fileno(), self._read)

    async def found(self, timeout_s: float) -> Found:
        """Wait for the first process, and return what it found.

        Raises:
            OSError: It ended, or did not start in time.
        """
        await asyncio.wait({self._found}, timeout=timeout_s)
        if not self._found.done():
            raise OSError(errno.ETIMEDOUT, "the room did not start in time")
        return self._found.result()

    # -- the Interior ------------------------------------------------------------------------------

    async def start(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        stdio: tuple[int, int, int],
        *,
        folder: str | None = None,
    ) -> _Process:
        """Start a process on these descriptors."""
        answer = await self._ask(_start(argv, env, folder or self.shell.home, None), stdio)
        _close(answer.descriptors)
        return _started(answer)

    async def start_on_terminal(
        self, argv: Sequence[str], env: Mapping[str, str], size: Size
    ) -> Terminal:
        """Start a process in the home folder on a terminal of the room."""
        answer = await self._ask(_start(argv, env, self.shell.home, size))
        master = _only(answer.descriptors)
        os.set_blocking(master, False)
        return Terminal(master, _started(answer))

    async def dial(self, host: str, port: int) -> socket.socket:
        """Connect from inside. Names are resolved outside; `localhost` is the room's."""
        return await dial(self._socket, host, port)

    async def listen(self, host: str, port: int) -> list[socket.socket]:
        """Bind inside the room."""
        return await listen(self._socket, host, port)

    def lead_out(self, public_ports: frozenset[int]) -> None:
        """Let these ports of the room's loopback lead outside."""
        opened, closed = public_ports - self._led_out, self._led_out - public_ports
        self._led_out = public_ports
        if opened or closed:
            with contextlib.suppress(OSError):
                self.send(
                    {
                        "do": "lead_out",
                        "host": _LOOPBACK,
                        "open": list(opened),
                        "close": list(closed),
                    }
                )

    async def end(self) -> None:
        """End the first process, and with it every other."""
        await self._end()
        self._lost()
        for connection in list(self._connections):
            connection.cancel()

    # -- packets -----------------------------------------------------------------------------------

    def send(self, message: Mapping[str, object]) -> None:
        """Send a command without waiting; OSError if it cannot be sent now."""
        self._send({**message, "id": 0})

    def _send(self, message: Mapping[str, object], descriptors: Sequence[int] = ()) -> None:
        data = json.dumps(message).encode()
        socket.send_fds(self._control, [data], list(descriptors))

    async def _ask(self, request: Mapping[str, object], descriptors: Sequence[int] = ()) -> _Answer:
        self._number += 1
        number = self._number
        future: asyncio.Future[_Answer] = self._loop.create_future()
        self._asked[number] = future
        try:
            self._send({**request, "id": number}, descriptors)
            answer = await future
        except BaseException:
            if future.done() and not future.cancelled() and future.exception() is None:
                _close(future.result().descriptors)
            raise
        finally:
            self._asked.pop(number, None)
        code = as_int(answer.message.get("errno"))
        if code is not None:
            _close(answer.descriptors)
            raise OSError(code, os.strerror(code))
        return answer

    async def _socket(self, family: int) -> socket.socket:
        answer = await self._ask({"do": "socket", "family": int(family)})
        descriptor = _only(answer.descriptors)
        try:
            sock = socket.socket(fileno=descriptor)
        except OSError:
            os.close(descriptor)
            raise
        sock.setblocking(False)
        return sock

    def _read(self) -> None:
        while True:
            try:
                data, descriptors, flags, _ = socket.recv_fds(self._control, _PACKET, _DESCRIPTORS)
            except BlockingIOError:
                return
            except OSError:
                data, descriptors, flags = b"", [], 0
            for descriptor in descriptors:
                os.set_inheritable(descriptor, False)
            if not data or flags & socket.MSG_TRUNC:
                _close(descriptors)
                self._lost()
                return
            try:
                message = as_object(json.loads(data)) or {}
            except (ValueError, RecursionError):
                message = {}
            if not self._take(message, descriptors):
                _close(descriptors)

    def _take(self, message: JsonObject, descriptors: list[int]) -> bool:
        """Handle a message; whether its descriptors were accepted."""
        number, pid = as_int(message.get("id")), as_int(message.get("pid"))
        if number is not None:
            process = None
            if pid is not None:
                process = self._running[pid] = _Process(self, pid)
            future = self._asked.get(number)
            if future is None or future.done():
                return False
            future.set_result(_Answer(message, descriptors, process))
            return True
        if pid is not None:
            process = self._running.pop(pid, None)
            code = as_int(message.get("code"))
            if process is not None and not process.exited.done():
                if code is None or not -signal.SIGSYS <= code <= _LAST_CODE:
                    code = -signal.SIGKILL
                process.exited.set_result(code)
        elif "connection" in message and len(descriptors) == 1:
            return self._connect_out(as_int(message["connection"]), descriptors[0])
        elif "has" in message and not self._found.done():
            programs = [as_text(path) or "" for path in as_list(message["has"]) or []]
            self._found.set_result(Found(programs, as_text(message.get("home")) or "/"))
        return False

    def _connect_out(self, port: int | None, descriptor: int) -> bool:
        """Connect a client in the room to a public port of this marketplace, and to no other."""
        if port is None or port not in self._led_out:
            return False
        try:
            inside = socket.socket(fileno=descriptor)
        except OSError:
            return False
        inside.setblocking(False)
        task = self._loop.create_task(self._copy(inside, port))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        return True

    async def _copy(self, inside: socket.socket, port: int) -> None:
        with contextlib.closing(inside), contextlib.suppress(OSError):
            outside = await asyncio.open_connection(_LOOPBACK, port)
            await join(await asyncio.open_connection(sock=inside), outside)

    def _lost(self) -> None:
        """Close everything, after the first process has ended."""
        if self._control.fileno() < 0:
            return
        self._loop.remove_reader(self._control.fileno())
        self._control.close()
        gone = OSError(errno.EPIPE, "the room has ended")
        if not self._found.done():
            self._found.set_exception(gone)
            self._found.exception()  # perhaps nobody waits for it
        for future in self._asked.values():
            if not future.done():
                future.set_exception(gone)
        for process in self._running.values():
            if not process.exited.done():
                process.exited.set_result(-signal.SIGKILL)
        self._running.clear()


def _start(
    argv: Sequence[str], env: Mapping[str, str], folder: str, size: Size | None
) -> dict[str, object]:
    return {"do": "start", "argv": list(argv), "env": dict(env), "cwd": folder, "size": size}


def _started(answer: _Answer) -> _Process:
    if answer.started is None:
        raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))
    return answer.started


def _only(descriptors: list[int]) -> int:
    if len(descriptors) != 1:
        _close(descriptors)
        raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))
    return descriptors[0]


def _close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
