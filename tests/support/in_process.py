"""Runs `clore` inside the process of the tests, as if it were one of its own.

It has its own arguments, environment and streams; what it changes in the process is put back.
"""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import warnings
from contextlib import ExitStack, contextmanager, suppress
from subprocess import CompletedProcess
from typing import TYPE_CHECKING

from quick import quick

from clore_ai.cli import cli, errors

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOGGERS = ("clore_ai", "clore_ai.curl")


def run(words: list[str], env: dict[str, str], stdin: str) -> CompletedProcess[str]:
    """As `subprocess.run(["clore", *words])` with pipes and text; from the main thread only.

    For commands that end by themselves, and that start no program on the streams of `clore`.
    """
    with ExitStack() as stack:
        kept = [stack.enter_context(os.fdopen(os.memfd_create(n), "w+b")) for n in "012"]
        kept[0].write(stdin.encode())
        kept[0].seek(0)
        stack.enter_context(_as_it_was(words, env))
        sys.stdin, sys.stdout, sys.stderr = (_stream(n, file) for n, file in enumerate(kept))
        with quick():
            code = _code(words)
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        out, err = (_read(file.fileno()) for file in kept[1:])
    return CompletedProcess(["clore", *words], code, out, err)


def _read(descriptor: int) -> str:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode()


def _code(words: list[str]) -> int:
    try:
        return errors.run(cli, words)
    except SystemExit as exc:
        return exc.code if isinstance(exc.code, int) else int(exc.code is not None)


def _stream(number: int, file: io.BufferedRandom) -> io.TextIOWrapper:
    """On a descriptor of its own: `clore` points it elsewhere if nobody reads what it prints."""
    binary = os.fdopen(os.dup(file.fileno()), "wb" if number else "rb")
    policy = ("strict", "replace", "backslashreplace")[number]
    return io.TextIOWrapper(binary, "utf-8", policy, write_through=number == 2)


@contextmanager
def _as_it_was(words: list[str], env: dict[str, str]) -> Iterator[None]:
    """In this block the process is `clore WORDS` with `env`; after it all is as before."""
    environment, argv = dict(os.environ), sys.argv
    streams = sys.stdin, sys.stdout, sys.stderr
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    loggers = [(log := logging.getLogger(name), log.level, log.handlers[:]) for name in _LOGGERS]
    sys.argv = ["clore", *words]
    _become(env)
    try:
        with warnings.catch_warnings():
            # What it leaves running in the background outlives it on purpose.
            warnings.simplefilter("ignore", ResourceWarning)
            yield
    finally:
        for ours in (sys.stdin, sys.stdout, sys.stderr):
            with suppress(OSError):
                ours.close()
        sys.stdin, sys.stdout, sys.stderr = streams
        sys.argv = argv
        _become(environment)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for log, level, attached in loggers:
            log.setLevel(level)
            log.handlers[:] = attached


def _become(env: dict[str, str]) -> None:
    """The environment, changed only where it differs: other threads read it meanwhile."""
    for name in [name for name in os.environ if name not in env]:
        del os.environ[name]
    os.environ.update(env)
