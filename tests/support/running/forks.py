"""Runs a Python program in forks of one process that has already imported it.

A command's start is mostly imports; a test suite that starts a thousand commands pays for them
once. Each fork still has its own arguments, environment, folder, descriptors and
exit status, also as `ps` shows it. Run as a program, this file is the process that forks.
"""

from __future__ import annotations

import array
import atexit
import ctypes
import fcntl
import gc
import io
import json
import os
import runpy
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from collections.abc import Iterable

_DESCRIPTORS = 16
"""The most that a fork gets."""
_HIGH = 500
"""Above the number of each descriptor that a fork gets."""
_ASKS = Path(__file__).with_name("ask.py")
_PIPES, _SESSION = 10, 21
"""The positions of the pipes and `start_new_session` in Popen's `_execute_child`."""


class Forks:
    """Starts the forking process, in which each fork runs `function` (``module:name``).

    `first`: modules to import before; ``module:name`` is called once. `before`: words
    in front of the command line of that process, e.g. of a sandbox around it and all forks.
    `python`: so are the `clore` and the background processes that a fork starts.
    """

    def __init__(
        self,
        function: str,
        first: tuple[str, ...],
        before: tuple[str, ...] = (),
        env: dict[str, str] | None = None,
        *,
        python: bool = False,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="forks-"))
        self._ours, theirs = socket.socketpair()
        with theirs, socket.socket(socket.AF_UNIX) as asked:
            asked.bind(str(self.folder / "asks"))
            asked.listen(128)
            numbers = [theirs.fileno(), asked.fileno()]
            its = self.python if python else sys.executable
            words = [*map(str, numbers), its, function, *first]
            process = subprocess.Popen(
                [*before, sys.executable, __file__, *words], pass_fds=numbers, env=env
            )
        # Its forks continue.
        self.close = weakref.finalize(self, _end, self._ours, process, self.folder)

    @property
    def program(self) -> list[str]:
        """The command line of a program that runs `function` in a fork; its words come after it."""
        return [sys.executable, "-I", "-S", str(_ASKS), str(self.folder / "asks")]

    @property
    def python(self) -> str:
        """A Python that runs `clore` and its background processes in forks."""
        path = self.folder / "python"
        if not path.exists():
            fork = shlex.join(self.program)
            path.write_text(
                f"""#!/bin/sh
case "$2" in
  clore_ai) shift 2; exec {fork} clore "$@" ;;
  clore_ai.cli.supervise.*) exec {fork} "$@" ;;
esac
exec {shlex.quote(sys.executable)} "$@"
"""
            )
            path.chmod(0o700)
        return str(path)

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
        """Fork with these as the first descriptors: the socket for its process id and status."""
        ours = socket.socket(socket.AF_UNIX)
        ours.connect(str(self.folder / "asks"))
        message = json.dumps({"numbers": [0, 1, 2], **task}).encode()
        socket.send_fds(ours, [len(message).to_bytes(8, "big")], ends)
        ours.sendall(message)
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


def _end(ours: socket.socket, process: subprocess.Popen[bytes], folder: Path) -> None:
    ours.close()
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)


def _write(end: int, data: bytes) -> None:
    with suppress(BrokenPipeError), open(end, "wb") as pipe:
        pipe.write(data)


def _read(end: int, said: list[bytes], place: int) -> None:
    with open(end, "rb") as pipe:
        said[place] = pipe.read()


def _serve(control: socket.socket, asked: socket.socket, function: Callable[[], object]) -> None:
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, socket.socket] = {}
    tied: dict[socket.socket, int] = {}
    while True:
        ready, _, _ = select.select([control, asked, woken, *tied], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _report(running, tied)
        for gone in tied.keys() & set(ready):  # killed
            os.kill(tied.pop(gone), signal.SIGKILL)
        if control in ready:
            return
        if asked in ready:
            teller, _ = asked.accept()
            task, descriptors = _receive(teller)
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _become(task, descriptors, function)
            for descriptor in descriptors:
                os.close(descriptor)
            with suppress(BrokenPipeError):
                teller.sendall(pid.to_bytes(8, "big"))
            running[pid] = teller
            if task.get("tied"):
                tied[teller] = pid


def _receive(teller: socket.socket) -> tuple[dict[str, Any], array.array[int]]:
    descriptors = array.array("i")
    size = socket.CMSG_LEN(_DESCRIPTORS * descriptors.itemsize)
    head, ancillary, _, _ = teller.recvmsg(8, size)
    for _, _, data in ancillary:
        descriptors.frombytes(data)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    message = b""
    while len(message) < int.from_bytes(head, "big"):
        message += teller.recv(65536)
    return json.loads(message), descriptors


def _report(running: dict[int, socket.socket], tied: dict[socket.socket, int]) -> None:
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            with running.pop(pid) as teller, suppress(BrokenPipeError):
                tied.pop(teller, None)
                code = os.waitstatus_to_exitcode(status)
                teller.sendall(code.to_bytes(8, "big", signed=True))


def _become(
    task: dict[str, Any], descriptors: array.array[int], function: Callable[[], object]
) -> None:
    """Run the program in the child; this never returns."""
    code = 1
    try:
        _place(task["numbers"], descriptors)
        os.chdir(task["cwd"])
        if task.get("session"):
            os.setsid()
        os.environ.clear()
        os.environ.update(task["env"])
        sys.argv = task["argv"]
        _show(sys.argv, task["env"])
        sys.stdin, sys.stdout, sys.stderr = (_stream(n) for n in range(3))
        try:
            _run(function)
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


def _run(function: Callable[[], object]) -> None:
    if sys.argv[0] == "-m":
        del sys.argv[0]
        sys.modules.pop(sys.argv[0], None)
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        function()


def _place(numbers: list[int], descriptors: array.array[int]) -> None:
    """Give the descriptors these numbers, and close all others."""
    high = [fcntl.fcntl(each, fcntl.F_DUPFD, _HIGH) for each in descriptors]
    os.closerange(0, _HIGH)
    for number, descriptor in zip(numbers, high):
        os.dup2(descriptor, number)
    os.closerange(_HIGH, _HIGH * 2)


def _show(argv: list[str], env: dict[str, str]) -> None:
    """Write the command line and the environment to where `ps` reads them, as far as they fit."""
    numbers = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    variables = [f"{name}={value}" for name, value in env.items()]
    for first, last, texts in ((45, 46, ["python", *argv]), (47, 48, variables)):
        start, size = int(numbers[first]), int(numbers[last]) - int(numbers[first])
        shown = b"".join(os.fsencode(text) + b"\0" for text in texts)
        ctypes.memmove(start, shown[: size - 1].ljust(size, b"\0"), size)


def _stream(number: int) -> io.TextIOWrapper:
    binary = open(number, "wb" if number else "rb", closefd=False)  # noqa: SIM115 - stays open
    errors = "backslashreplace" if number == 2 else "strict"
    lines = number == 2 or (number == 1 and binary.isatty())
    return io.TextIOWrapper(
        binary, "utf-8", errors, line_buffering=lines, write_through=number == 2
    )


def of_clore(
    function: str = "quick:clore",
    before: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
) -> Forks:
    """Forks that run `clore` with short waits and all modules loaded."""
    return Forks(function, of_clore_first(), before, env, python=True)


def of_clore_first() -> tuple[str, ...]:
    """The modules that its commands import, and functions to call once."""
    from clore_ai.cli import COMMANDS

    commands = (f"clore_ai.cli.{module}" for module, _ in COMMANDS.values())
    later = (
        "anyio._backends._asyncio", "clore_ai.client", "clore_ai.jobs.spec", "clore_ai.jobs.status",
        "clore_ai.cli.supervise.reaping", "clore_ai.cli.supervise.watching",
        "clore_ai.rental.rent.high_bid", "clore_ai.rental.reports.orders",
        "clore_ai.rental.spend.unseen", "difflib", "httpcore", "rich.table",
    )  # fmt: skip
    return (*commands, *later, "clore_ai._io.http:tls")


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
    _control, _asked = (socket.socket(fileno=int(number)) for number in sys.argv[1:3])
    sys.executable = sys.argv[3]
    _module, _, _name = sys.argv[4].partition(":")
    warm(sys.argv[5:])
    for _each in (_control, _asked):
        _each.set_inheritable(False)
    _serve(_control, _asked, getattr(import_module(_module), _name))
