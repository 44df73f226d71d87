"""Runs local programs within bounds: above all ssh, whose other end is a stranger's.

Each has its own process group, so that Ctrl-C on the terminal is ours to handle, and it ends with
all its children. Its time and its output are bounded, and so is its end: if another process keeps a
pipe open (a control master, a ProxyCommand), we do not wait for it. It does not outlive this
process, not even after ``kill -9`` (on Linux).
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import shutil
import signal
import subprocess
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Callable

from clore_ai._api.steps import Done

if TYPE_CHECKING:
    from clore_ai._api.steps import Exec

_NOT_HERE = 127
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has none
PIPE = subprocess.PIPE
_CHUNK = 1 << 16
_POLL_S = 0.1
LEFT_S = 1.0
"""How long a killed program may take to end and to close its pipes."""
_ERRORS_KEPT = 1 << 16


def start(
    words: tuple[str, ...],
    *,
    stdin: int = subprocess.DEVNULL,
    stdout: int = PIPE,
    stderr: int = PIPE,
    folder: str | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program; the caller reads and writes its pipes, and must `end` it.

    Raises:
        OSError: it can't be run.
    """
    return subprocess.Popen(  # noqa: S603 - our own words, no shell
        leashed(words),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=folder,
        start_new_session=True,
    )


def leashed(words: tuple[str, ...]) -> tuple[str, ...]:
    """The command line with which the kernel ends the program when its starting thread ends.

    If `setpriv` does not support this (macOS, old util-linux), the words are unchanged.

    Raises:
        FileNotFoundError: there is no such program.
    """
    if shutil.which(words[0]) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), words[0])
    return (*_leash(), *words)


@lru_cache(maxsize=1)
def _leash() -> tuple[str, ...]:
    words = ("setpriv", "--pdeathsig", "KILL", "--")
    try:
        tried = subprocess.run((*words, "true"), check=False, capture_output=True, timeout=LEFT_S)  # noqa: S603 - fixed words
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return () if tried.returncode else words


def end(process: subprocess.Popen[bytes], how: int = KILL) -> None:
    """End a program with all its children, and close its pipes, within about a second."""
    kill(process.pid, how)
    leave(process)
    try:
        process.wait(LEFT_S)
    except subprocess.TimeoutExpired:
        kill(process.pid)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LEFT_S)


def leave(process: subprocess.Popen[bytes]) -> None:
    """Close our ends of its pipes."""
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def kill(group: int, how: int = KILL) -> None:
    """Send a signal to a process group; does nothing if it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, how)


def run(step: Exec, stopped: Callable[[], bool] = lambda: False) -> Done:
    """Run a program in the calling thread; it is ended early once `stopped` returns true."""
    try:
        process = start(step.words, stdin=PIPE, folder=step.folder)
    except OSError as exc:
        error = f"{step.words[0]}: {exc.strerror}".encode()
        return Done(_NOT_HERE, b"", error, errno=exc.errno)
    talk = _Talk(process, step)
    try:
        code = talk.through(stopped)
    finally:
        if talk.over:
            leave(process)
        else:
            end(process)
    return Done(code, bytes(talk.out), bytes(talk.err), talk.flooded)


class _Talk:
    """Writes a program's input and reads its output."""

    def __init__(self, process: subprocess.Popen[bytes], step: Exec) -> None:
        self._process, self._most = process, step.most
        self._pieces = iter((step.stdin,) if isinstance(step.stdin, bytes) else step.stdin)
        self._left = memoryview(b"")
        self._until = time.monotonic() + step.within_s
        self._silent_s, self._moved_at = step.silent_s, time.monotonic()
        self.out, self.err = bytearray(), bytearray()
        self.flooded = False
        self.over = False
        """Did it end by itself and close its pipes?"""

    def through(self, stopped: Callable[[], bool]) -> int | None:
        """Its exit code; None if it did not end in time, or wrote too much."""
        process, ended_at = self._process, 0.0
        with selectors.DefaultSelector() as pipes:
            for pipe, what in (
                (process.stdin, selectors.EVENT_WRITE),
                (process.stdout, selectors.EVENT_READ),
                (process.stderr, selectors.EVENT_READ),
            ):
                if pipe is not None:
                    os.set_blocking(pipe.fileno(), False)
                    pipes.register(pipe, what)
            while process.stdout in (files := _files(pipes)) or process.stderr in files:
                now = time.monotonic()
                end_at = min(self._until, self._moved_at + self._silent_s)
                if stopped() or self.flooded or now >= end_at:
                    return None
                ready = pipes.select(min(_POLL_S, end_at - now))
                for key, _ in ready:
                    if not self._moved(key):
                        pipes.unregister(key.fileobj)
                        key.fileobj.close()  # type: ignore[union-attr]
                if not ready and process.poll() is not None:
                    ended_at = ended_at or now
                    if now - ended_at > LEFT_S:
                        return process.returncode  # another process holds its pipes
        while not (stopped() or self.flooded) and (left := self._until - time.monotonic()) > 0:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(min(_POLL_S, left))
                self.over = True
                return process.returncode
        return None

    def _moved(self, key: selectors.SelectorKey) -> bool:
        """Move some bytes; False at the end of the pipe."""
        try:
            if key.events & selectors.EVENT_WRITE:
                while not self._left:
                    piece = next(self._pieces, None)
                    if piece is None:
                        return False
                    self._left = memoryview(piece)
                self._left = self._left[os.write(key.fd, self._left[:_CHUNK]) :]
                self._moved_at = time.monotonic()
                return True
            piece = os.read(key.fd, _CHUNK)
            self._moved_at = time.monotonic()
        except BlockingIOError:
            return True
        except OSError:  # it doesn't read its input
            return False
        if key.fileobj is self._process.stderr:
            self.err += piece
            del self.err[:-_ERRORS_KEPT]
        else:
            self.out += piece
            self.flooded = len(self.out) > self._most
            if self.flooded:
                self.out.clear()
        return bool(piece)


def _files(pipes: selectors.BaseSelector) -> list[Any]:
    return [key.fileobj for key in (pipes.get_map() or {}).values()]
