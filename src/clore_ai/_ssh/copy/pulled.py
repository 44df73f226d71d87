"""Reads the output of a shell line on a machine as it comes, and never waits without end."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from typing import TYPE_CHECKING, Callable

from clore_ai._ssh import marks, programs
from clore_ai._values.text import plain

if TYPE_CHECKING:
    from typing_extensions import Self

SILENT_S = 120.0
"""How long nothing may move; the slowest disk is faster."""
WITHIN_S = 6 * 3600.0
SSH_FAILED = 255

Stopped = Callable[[], bool]
"""Whether to stop."""
Ssh = Callable[[str], "tuple[str, ...]"]
"""The command line that runs a line of the machine's shell."""

_MOST_NOISE = 1 << 22
_CHUNK = 1 << 16
_POLL_S = 0.1


class Pulled:
    """One program whose output is read piece by piece; to be closed.

    Args:
        words: the program.
        stdin: its input.
        stopped: whether to stop.

    Raises:
        OSError: it can't be run.
    """

    def __init__(self, words: tuple[str, ...], stdin: bytes, stopped: Callable[[], bool]) -> None:
        self._stopped = stopped
        self._left = memoryview(stdin)
        self._until = time.monotonic() + WITHIN_S
        self._ahead = self._err = b""
        self._over = False
        self.why = "the connection was cut"
        self._process = programs.start(words, stdin=subprocess.PIPE)
        self._pipes = selectors.DefaultSelector()
        for pipe, what in (
            (self._process.stdin, selectors.EVENT_WRITE),
            (self._process.stdout, selectors.EVENT_READ),
            (self._process.stderr, selectors.EVENT_READ),
        ):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                self._pipes.register(pipe, what)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pipes.close()
        programs.end(self._process)

    def skip_to(self, mark: str) -> bool:
        """Skip what a shell's start-up files print; False if there is no mark."""
        head = b""
        while (found := marks.after(mark, head)) is None:
            piece = self.read(_CHUNK)
            head += piece
            if not piece or len(head) > _MOST_NOISE:
                return False
        self._ahead = found
        return True

    def read(self, size: int) -> bytes:
        """The next bytes; none at the end, or if nothing came for too long."""
        if self._ahead:
            piece, self._ahead = self._ahead[:size], self._ahead[size:]
            return piece
        silent = time.monotonic() + SILENT_S
        while not self._over:
            if self._stopped() or time.monotonic() > min(silent, self._until):
                self._over, self.why = True, "the machine does not answer"
                break
            for key, _ in self._pipes.select(_POLL_S):
                came = self._moved(key, size)
                if key.fileobj is self._process.stdout and came is not None:
                    self._over = not came
                    return came
        return b""

    def cut(self) -> bool:
        """Did it end because the connection did?"""
        if not self._over:
            return False
        try:
            code = self._process.wait(_POLL_S * 10)
        except subprocess.TimeoutExpired:
            return True
        if code == SSH_FAILED:
            self.why = plain(self._err) or self.why
        return code == SSH_FAILED or code < 0

    def _moved(self, key: selectors.SelectorKey, size: int) -> bytes | None:
        """The next bytes of one pipe; None for nothing yet, empty at its end."""
        piece: bytes | None
        try:
            if key.events & selectors.EVENT_WRITE:
                if self._left:
                    self._left = self._left[os.write(key.fd, self._left[:_CHUNK]) :]
                piece = None if self._left else b""
            else:
                piece = os.read(key.fd, size)
        except BlockingIOError:
            return None
        except OSError:
            piece = b""
        if key.fileobj is self._process.stderr and piece:
            self._err = (self._err + piece)[-4096:]
        if piece == b"":
            self._pipes.unregister(key.fileobj)
            key.fileobj.close()  # type: ignore[union-attr]
        return piece
