"""Runs a Python program in forks of one process that has already imported it.

A command's start is mostly imports; a test suite that starts a thousand commands pays for them
once. Each fork still has its own arguments, environment, folder, descriptors and
exit status. Run as a program, this file is the process that forks.
"""

from __future__ import annotations

import array
import atexit
import gc
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from collections.abc import Iterable

_DESCRIPTORS = 4
"""stdin, stdout, stderr, and the pipe for the exit status."""
_PIPES, _SESSION = 10, 21
"""The positions of the pipes and `start_new_session` in Popen's `_execute_child`."""


class Forks:
    """Starts the forking process, in which each fork runs `function` (``module:name``).

    `first`: modules to import before; ``module:name`` is called once. `before`: words
    in front of the command line of that process, e.g. of a sandbox around it and all forks.
    """

    def __init__(
        self,
        function: str,
        first: tuple[str, ...],
        before: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
    ) -> None:
        self._ours, theirs = socket.socketpair()
        self._asks = threading.Lock()
        with theirs:
            process = subprocess.Popen(
                [*before, sys.executable, __file__, str(theirs.fileno()), function, *first],
                pass_fds=[theirs.fileno()],
                env=env,
            )
        # Its forks continue.
        self.close = weakref.finalize(self, _end, self._ours, process)

    def run(
        self,
        words: list[str],
        env: dict[str, str],
        stdin: str,
        timeout: float,
        started: Callable[[int], object] = lambda _pid: None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Like `subprocess.run` with pipes and text; `started` is called with the process id."""
        pipes = [os.pipe() for _ in range(3)]
        ends = [pipes[0][0], pipes[1][1], pipes[2][1]]
        ours = self.fork(ends, argv=words, env=env, cwd=str(cwd or Path.cwd()))
        for end in ends:
            os.close(end)
        said: list[bytes] = [b"", b""]
        with ours:
            threads = [
                threading.Thread(target=_write, args=(pipes[0][1], stdin.encode())),
                *(threading.Thread(target=_read, args=(pipes[n][0], said, n - 1)) for n in (1, 2)),
            ]
            for thread in threads:
                thread.start()
            pid = int.from_bytes(ours.recv(8), "big")
            started(pid)
            ours.settimeout(timeout)
            try:
                status = int.from_bytes(ours.recv(8), "big", signed=True)
            except socket.timeout:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(words, timeout) from None
            for thread in threads:
                thread.join()
        out, err = (text.decode().replace("\r\n", "\n") for text in said)
        return subprocess.CompletedProcess(words, status, out, err)

    def fork(self, ends: list[int], **task: Any) -> socket.socket:
        """Fork with these three descriptors: the socket for its process id, then its status."""
        ours, theirs = socket.socketpair()
        message = json.dumps(task).encode()
        with theirs, self._asks:
            head = len(message).to_bytes(8, "big")
            socket.send_fds(self._ours, [head], [*ends, theirs.fileno()])
            self._ours.sendall(message)
        return ours


class Fork(subprocess.Popen):  # type: ignore[type-arg]
    """A fork as a `subprocess.Popen`: pipes, `communicate`, signals. It is no child of ours."""

    def __init__(self, forks: Forks, words: list[str], **options: Any) -> None:
        self._forks = forks
        super().__init__(words, **options)

    def _execute_child(self, *given: Any) -> None:
        """Start the fork for Popen: its own arguments, then both ends of each pipe."""
        words, cwd, env, session = given[0], given[5], given[6], given[_SESSION]
        pipes = given[_PIPES : _PIPES + 6]
        ends = [own if own >= 0 else n for n, own in enumerate((pipes[0], pipes[3], pipes[5]))]
        folder = str(cwd or Path.cwd())
        self._told = self._forks.fork(ends, argv=words, env=env, cwd=folder, session=session)
        weakref.finalize(self, self._told.close)
        self.pid = int.from_bytes(self._told.recv(8), "big")
        self._child_created = True
        self._close_pipe_fds(*pipes)

    def _internal_poll(self, *_: object, **__: object) -> int | None:
        return self._status(0)

    def _wait(self, timeout: float | None) -> int:
        code = self._status(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def _status(self, timeout: float | None) -> int | None:
        # Several threads may read it: each peeks, and none consumes it.
        if self.returncode is not None or self._told.fileno() < 0:
            return self.returncode
        ended = select.poll()
        ended.register(self._told, select.POLLIN)
        if ended.poll(timeout and timeout * 1000):
            status = self._told.recv(8, socket.MSG_PEEK)
            assert status, "the process that forks is gone"
            self.returncode = int.from_bytes(status, "big", signed=True)
        return self.returncode


def _end(ours: socket.socket, process: subprocess.Popen[bytes]) -> None:
    ours.close()
    process.wait()


def _write(end: int, data: bytes) -> None:
    with suppress(BrokenPipeError), open(end, "wb") as pipe:
        pipe.write(data)


def _read(end: int, said: list[bytes], place: int) -> None:
    with open(end, "rb") as pipe:
        said[place] = pipe.read()


def _serve(control: socket.socket, function: Callable[[], object]) -> None:
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([control, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _report(running)
        if control in ready:
            head, descriptors = _receive(control)
            if not head:
                return
            task = json.loads(_exactly(control, int.from_bytes(head, "big")))
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _become(task, descriptors, function)
            teller = socket.socket(fileno=descriptors.pop())
            for descriptor in descriptors:
                os.close(descriptor)
            with suppress(BrokenPipeError):
                teller.sendall(pid.to_bytes(8, "big"))
            running[pid] = teller


def _receive(control: socket.socket) -> tuple[bytes, array.array[int]]:
    descriptors = array.array("i")
    size = socket.CMSG_LEN(_DESCRIPTORS * descriptors.itemsize)
    head, ancillary, _, _ = control.recvmsg(8, size)
    for _, _, data in ancillary:
        descriptors.frombytes(data)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return head, descriptors


def _exactly(control: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        parts += control.recv(size - len(parts))
    return parts


def _report(running: dict[int, socket.socket]) -> None:
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            with running.pop(pid) as teller, suppress(BrokenPipeError):
                code = os.waitstatus_to_exitcode(status)
                teller.sendall(code.to_bytes(8, "big", signed=True))


def _become(
    task: dict[str, Any], descriptors: array.array[int], function: Callable[[], object]
) -> None:
    """Run the program in the child; this never returns."""
    code = 1
    try:
        for number, descriptor in enumerate(descriptors[:3]):
            os.dup2(descriptor, number)
        os.closerange(3, max(descriptors) + 1)
        os.chdir(task["cwd"])
        if task.get("session"):
            os.setsid()
        os.environ.clear()
        os.environ.update(task["env"])
        sys.argv = task["argv"]
        sys.stdin, sys.stdout, sys.stderr = (_stream(n) for n in range(3))
        try:
            function()
            code = 0
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else 0 if exc.code is None else 1
        except BaseException:  # noqa: BLE001 - as the interpreter does
            sys.excepthook(*sys.exc_info())
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
    finally:
        os._exit(code)


def _stream(number: int) -> io.TextIOWrapper:
    binary = open(number, "wb" if number else "rb", closefd=False)  # noqa: SIM115 - stays open
    errors = "backslashreplace" if number == 2 else "strict"
    return io.TextIOWrapper(
        binary, "utf-8", errors, line_buffering=number == 2, write_through=number == 2
    )


def of_clore(
    function: str = "quick:clore",
    before: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
) -> Forks:
    """Forks that run `clore` with short waits and all modules loaded."""
    return Forks(function, of_clore_first(), before, env)


def of_clore_first() -> tuple[str, ...]:
    """The modules that its commands import, and functions to call once."""
    from clore_ai.cli import COMMANDS

    commands = (f"clore_ai.cli.{module}" for module, _ in COMMANDS.values())
    later = ("anyio._backends._asyncio", "clore_ai.client", "clore_ai.jobs.status")
    return (*commands, *later, "difflib", "httpcore", "rich.table", "clore_ai._io.http:tls")


def warm(first: Iterable[str]) -> None:
    """Import these modules and call these functions, for all forks."""
    for each in first:
        module, _, name = each.partition(":")
        found = import_module(module)
        if name:
            getattr(found, name)()
    gc.collect()
    gc.freeze()


def script() -> None:
    """Run a Python program, the first word of its command line."""
    sys.path.insert(0, str(Path(sys.argv[0]).parent))
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    _module, _, _name = sys.argv[2].partition(":")
    warm(sys.argv[3:])
    with socket.socket(fileno=int(sys.argv[1])) as _control:
        _control.set_inheritable(False)
        _serve(_control, getattr(import_module(_module), _name))
