"""Runs `clore` inside the process of the tests, as if it were a process of its own.

It has its own arguments, environment and streams; its changes to the process are undone.
"""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import warnings
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from subprocess import CompletedProcess
from typing import TYPE_CHECKING

from quick import quick

from clore_ai.cli import cli, errors

if TYPE_CHECKING:
    from collections.abc import Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
_LOGGERS = ("clore_ai", "clore_ai.curl")


def run(
    words: list[str],
    env: dict[str, str],
    stdin: str,
    python: str = sys.executable,
    cwd: Path | None = None,
) -> CompletedProcess[str]:
    """Like `subprocess.run(["clore", *words])` with pipes and text; in the main thread only.

    For commands that end by themselves and start no program on the streams of `clore`. `python`
    runs its background processes.
    """
    with ExitStack() as stack:
        kept = [stack.enter_context(os.fdopen(os.memfd_create(n), "w+b")) for n in "012"]
        kept[0].write(stdin.encode())
        kept[0].seek(0)
        stack.enter_context(_restored(words, env))
        sys.executable = python
        os.chdir(cwd or Path.cwd())
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
    """A stream on its own descriptor: `clore` redirects it if its output is no longer read."""
    binary = os.fdopen(os.dup(file.fileno()), "wb" if number else "rb")
    policy = ("strict", "replace", "backslashreplace")[number]
    return io.TextIOWrapper(binary, "utf-8", policy, write_through=number == 2)


@contextmanager
def _restored(words: list[str], env: dict[str, str]) -> Iterator[None]:
    """In this block the process is `clore WORDS` with `env`; afterwards all is as before."""
    environment, argv, python, folder = dict(os.environ), sys.argv, sys.executable, Path.cwd()
    streams = sys.stdin, sys.stdout, sys.stderr
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    loggers = [(log := logging.getLogger(name), log.level, log.handlers[:]) for name in _LOGGERS]
    sys.argv = ["clore", *words]
    _become(env)
    try:
        with warnings.catch_warnings():
            # Its background processes outlive it on purpose.
            warnings.simplefilter("ignore", ResourceWarning)
            yield
    finally:
        for ours in (sys.stdin, sys.stdout, sys.stderr):
            with suppress(OSError):
                ours.close()
        sys.stdin, sys.stdout, sys.stderr = streams
        sys.argv, sys.executable = argv, python
        os.chdir(folder)
        _become(environment)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for log, level, attached in loggers:
            log.setLevel(level)
            log.handlers[:] = attached


def _become(env: dict[str, str]) -> None:
    """Set the environment, changed only as needed: other threads read it meanwhile."""
    for name in [name for name in os.environ if name not in env]:
        del os.environ[name]
    os.environ.update(env)
