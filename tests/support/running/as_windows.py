"""Runs a program as on Windows, in a fork: `as_windows MODULE WORDS…`, or `-c CODE`.

Functions that Windows lacks are removed, and `sys.platform` says so; the libraries are loaded
before, since their versions for Windows are missing here.
"""

# ruff: noqa: F401 - loaded for the code that follows
from __future__ import annotations

import asyncio
import multiprocessing
import os
import runpy
import signal
import sqlite3
import subprocess
import sys
import sysconfig
import tempfile
import types
import zoneinfo

import anyio._backends._asyncio
import click
import httpx
import pydantic
import rich.table

_MODULES = ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty")
_OS = (
    *("O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "fchmod", "fork"),
    *("getegid", "geteuid", "getgid", "getpgid", "getpgrp", "getuid", "killpg", "mkfifo"),
    *("setpgid", "setsid", "set_blocking", "statvfs", "uname"),
)
_SIGNALS = (
    *("SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP"),
    *("SIGTSTP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "pthread_sigmask", "setitimer"),
)


def main() -> None:
    sysconfig.get_config_vars()  # from a file with this platform's name
    for place, names in ((os, _OS), (signal, _SIGNALS)):
        for name in names:
            delattr(place, name)
    for name in _MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    msvcrt = types.ModuleType("msvcrt")
    vars(msvcrt).update(LK_NBLCK=2, locking=lambda *_: None)
    sys.modules["msvcrt"] = msvcrt
    sys.platform = "win32"
    if sys.argv[1] == "-c":
        exec(sys.argv[2], {"__name__": "__main__"})
    else:
        sys.argv = sys.argv[1:]
        runpy.run_module(sys.argv[0], run_name="__main__")
