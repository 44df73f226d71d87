"""Why files could not be copied, from how a program ended."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from clore_ai._ssh.copy.pulled import SSH_FAILED
from clore_ai._values.text import plain

if TYPE_CHECKING:
    from clore_ai._api.steps import Done

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class CopyFailedError(Exception):
    """Files could not be copied; the message says why, in a clause."""


class CutError(CopyFailedError):
    """The connection broke; a retry may succeed. `moved`: had some files been copied before?"""

    def __init__(self, message: str, *, moved: bool = False) -> None:
        super().__init__(message)
        self.moved = moved


class FullError(CopyFailedError):
    """A disk is full. `there`: it is the machine's, not the local one."""

    def __init__(self, message: str, *, there: bool) -> None:
        super().__init__(message)
        self.there = there


def not_here(exc: OSError) -> CopyFailedError:
    if exc.errno in _NO_ROOM:
        return FullError("the local disk is full", there=False)
    return CopyFailedError(f"the local file can't be written: {exc.strerror or exc}")


def cut(done: Done) -> CutError:
    if done.code is None:
        return CutError("the machine does not answer")
    return CutError(plain(done.err) or "the connection was cut")


def failed(done: Done) -> CopyFailedError:
    """Why there is no usable answer."""
    if done.flooded:
        return CopyFailedError("the machine sent more than requested")
    if done.code in (None, SSH_FAILED):
        return cut(done)
    return CopyFailedError(last_words(done.err) or f"its shell exited with {done.code}")


def last_words(stderr: bytes) -> str:
    """The last line that is not empty, fit to print."""
    lines = [plain(line) for line in stderr[-4096:].splitlines()]
    return next((line for line in reversed(lines) if line), "")
