"""The first process of an isolated room: it starts processes and creates sockets in the room.

It is copied into the room and uses the standard library only. Commands arrive on one socket (a
descriptor's number, or a path), one JSON object per packet, with descriptors beside it; answers and
events go the same way. When that socket closes, the marketplace is gone: the program exits, and
since it is the first process of its namespace, all others end with it.

    Start, + stdin, stdout, stderr                    → {"id", "pid"}
    Start with a size                                 → {"id", "pid"} + the terminal
    MakeSocket                                        → {"id"} + the socket, unbound
    SendSignal, LeadOut
    a failure                                         → {"id", "errno"}
    a process has ended                               → {"pid", "code"}
    a connection to a port that leads out             → {"connection": port} + the connection
    at the start                                      → {"has": [path], "home"}
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import termios
from typing import Literal, TypedDict

_PACKET = 1 << 20
_DESCRIPTORS = 3
_LOOKED_FOR = (
    "/bin/bash",
    "/bin/sh",
    "/usr/lib/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/libexec/sftp-server",
)
_CANNOT_START = 127


class Start(TypedDict):
    """Start a process; `size` is the size of a new terminal: columns, rows, both in pixels."""

    do: Literal["start"]
    id: int
    argv: list[str]
    env: dict[str, str]
    cwd: str
    size: list[int] | None


class MakeSocket(TypedDict):
    """Create a stream socket."""

    do: Literal["socket"]
    id: int
    family: int


class SendSignal(TypedDict):
    """Send a signal to a process's group."""

    do: Literal["signal"]
    id: int
    pid: int
    signal: int


class LeadOut(TypedDict):
    """Let the ports `open` of the loopback lead out of the room, and `close` no longer."""

    do: Literal["lead_out"]
    id: int
    host: str
    open: list[int]
    close: list[int]


Command = Start | MakeSocket | SendSignal | LeadOut


class Room:
    """The state of the program: running processes, and ports that lead out."""

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.running: set[int] = set()
        self.led_out: dict[int, socket.socket] = {}
        self.poll = select.poll()
        self.poll.register(control, select.POLLIN)
        # A signal writes to this socket, which wakes the poll.
        woken, wake = socket.socketpair()
        woken.setblocking(False)
        wake.setblocking(False)
        self.woken, self.wake = woken, wake
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _wake)
        self.poll.register(woken, select.POLLIN)

    def send(self, *descriptors: int, **message: object) -> None:
        """Send a packet to the marketplace, or exit if it is gone."""
        data = json.dumps(message).encode()
        try:
            socket.send_fds(self.control, [data], list(descriptors))
        except OSError:
            os._exit(0)

    def serve(self) -> None:
        """Serve until the marketplace is gone."""
        while True:
            for descriptor, _ in self.poll.poll():
                if descriptor == self.control.fileno():
                    if not self.take_command():
                        return
                elif descriptor == self.woken.fileno():
                    with contextlib.suppress(BlockingIOError):
                        self.woken.recv(4096)
                    self.reap()
                else:
                    self.pass_on(descriptor)

    def take_command(self) -> bool:
        """Read and carry out a command; False at the end."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self.control, _PACKET, _DESCRIPTORS)
        except OSError:
            return False
        # `recv_fds` ignores its flags, MSG_CMSG_CLOEXEC included.
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        if not data:
            return False
        message: Command = json.loads(data)
        try:
            self.do(message, descriptors)
        except OSError as exc:
            self.send(id=message["id"], errno=exc.errno or errno.EIO)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def do(self, message: Command, descriptors: list[int]) -> None:
        """Carry out one command."""
        if message["do"] == "start":
            if message["size"] is None:
                pid = self.start(message, message["env"], tuple(descriptors))
                self.send(id=message["id"], pid=pid)
            else:
                self.start_on_terminal(message, message["size"])
        elif message["do"] == "socket":
            with socket.socket(message["family"], socket.SOCK_STREAM) as made:
                self.send(made.fileno(), id=message["id"])
        elif message["do"] == "signal":
            if message["pid"] in self.running:
                os.killpg(message["pid"], message["signal"])
        else:
            self.lead_out(message["host"], message["open"], message["close"])

    def start_on_terminal(self, message: Start, size: list[int]) -> None:
        """Start a process on a new terminal, and send the other side of it."""
        master, slave = os.openpty()
        try:
            columns, rows, x_pixels, y_pixels = size
            packed = struct.pack("HHHH", rows, columns, x_pixels, y_pixels)
            fcntl.ioctl(slave, termios.TIOCSWINSZ, packed)
            tty = os.ttyname(slave)
            env: dict[str, str] = {**message["env"], "SSH_TTY": tty}
            pid = self.start(message, env, (slave,) * 3, terminal=True)
            self.send(master, id=message["id"], pid=pid)
        finally:
            os.close(master)
            os.close(slave)

    def start(
        self,
        message: Start,
        env: dict[str, str],
        stdio: tuple[int, ...],
        *,
        terminal: bool = False,
    ) -> int:
        """Fork and exec; OSError if the program cannot be executed."""
        failure, failed = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                _become(message["argv"], message["cwd"], env, stdio, terminal=terminal)
            except OSError as exc:
                os.write(failed, str(exc.errno).encode())
            finally:
                os._exit(_CANNOT_START)
        os.close(failed)
        with open(failure, "rb") as file:  # noqa: PTH123 - a descriptor
            code = file.read()
        if code:
            raise OSError(int(code), os.strerror(int(code)))
        self.running.add(pid)
        return pid

    def reap(self) -> None:
        """Reap ended processes: our children, and those that the first process adopted."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self.running:
                self.running.discard(pid)
                self.send(pid=pid, code=os.waitstatus_to_exitcode(status))

    def lead_out(self, host: str, opened: list[int], closed: list[int]) -> None:
        """Start and stop listening on public ports, so that they lead out of the room."""
        for port in closed:
            listener = self.led_out.pop(port, None)
            if listener is not None:
                self.poll.unregister(listener)
                listener.close()
        for port in opened:
            # A process of the room may already use the port.
            with contextlib.suppress(OSError):
                listener = socket.create_server((host, port), backlog=128)
                listener.setblocking(False)
                self.led_out[port] = listener
                self.poll.register(listener, select.POLLIN)

    def pass_on(self, descriptor: int) -> None:
        """Accept a connection to a public port, and send it to the marketplace."""
        for port, listener in self.led_out.items():
            if listener.fileno() == descriptor:
                with contextlib.suppress(OSError):
                    connection, _ = listener.accept()
                    with connection:
                        self.send(connection.fileno(), connection=port)
                return


def _wake(_number: int, _frame: object) -> None:
    """Does nothing: without a handler, the signal would not wake the poll."""


def _become(
    argv: list[str], cwd: str, env: dict[str, str], stdio: tuple[int, ...], *, terminal: bool
) -> None:
    os.setsid()
    if terminal:
        fcntl.ioctl(stdio[0], termios.TIOCSCTTY, 0)
    os.chdir(cwd)
    for wanted, descriptor in enumerate(stdio):
        os.dup2(descriptor, wanted)
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.execvpe(argv[0], argv, env)  # noqa: S606 - the renter's command


def _hide() -> None:
    """Keep other processes from tracing this one, or opening its descriptors."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes  # not every Python has it

        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE


def _name_the_user(home: str) -> None:
    """Create /etc/passwd if an image lacks it: sftp-server and ssh need it."""
    with contextlib.suppress(OSError):
        os.makedirs("/etc", exist_ok=True)  # noqa: PTH103 - pathlib would double the start
        with open("/etc/passwd", "x", encoding="utf-8") as file:  # noqa: PTH123 - no pathlib
            file.write(f"root:x:0:0:root:{home}:/bin/sh\n")


def main(where: str) -> None:
    """Serve the marketplace at the other end of `where`."""
    if where.isdigit():
        control = socket.socket(fileno=int(where))
        control.set_inheritable(False)
    else:
        control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        control.connect(where)
    _hide()
    os.umask(0o022)
    has = [path for path in _LOOKED_FOR if os.access(path, os.X_OK)]
    home = "/root" if os.path.isdir("/root") else "/"  # noqa: PTH112 - no pathlib
    _name_the_user(home)
    room = Room(control)
    room.send(has=has, home=home)
    room.serve()


if __name__ == "__main__":
    main(sys.argv[1])
