"""Runs the real `clore`: inside this process, as a process with pipes, or in tmux on a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import in_process
from forks import Fork, Forks, of_clore
from waiting import until

from clore_sandbox.fleet.sample import sample_fleet

if TYPE_CHECKING:
    from clore_sandbox import Entry, Sandbox


CLORE = [sys.executable, "-m", "clore_ai"]
COINS = {"bitcoin", "CLORE-Blockchain", "USD-Blockchain"}
FLEET: dict[str, Any] = {
    "servers": [
        each
        for n, each in enumerate(sample_fleet(0, 900))
        if n % 20 == 0 or (not each["rented"] and COINS.issubset(each["allowed_coins"]))
    ]
}
"""Enough free servers for the tests of one file, each with servers of its own, and some others."""
DEPLOY = ("--image", "cloreai/ubuntu22.04-cuda12", "--type", "on-demand", "--currency")


SHORT = {
    "search", "deploy", "orders", "cancel", "wallets", "jobs", "ledger", "orphans", "budget",
    "lease", "hosts", "spot-price", "servers", "server-config", "config", "reap", "logs",
}  # fmt: skip
"""Commands that end by themselves and start no program on their own streams."""
_REFUSED = (2, 6)
"""Exit codes of commands that were refused, or matched nothing, before they did anything."""


@lru_cache(maxsize=1)
def shared_forks() -> Forks:
    """The process that forks the commands of all tests."""
    return of_clore()


@lru_cache(maxsize=1)
def forks_with(path: str) -> Forks:
    """A process with this PYTHONPATH, of which no module is imported before a command needs it."""
    return Forks("quick:clore", (), env={**os.environ, "PYTHONPATH": path})


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """The value on stdout, which must be exactly one JSON value."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """The error of a command with --json, which is the last line of stderr."""
        error: dict[str, Any] = json.loads(self.err.splitlines()[-1])
        return error


def _short(words: list[str], fails: int | None) -> bool:
    if "ssh" in words:  # becomes another program
        return False
    short = "--help" in words or fails in _REFUSED or (words and words[0] in SHORT)
    return bool(short) and not {"--every", "-f", "--follow"}.intersection(words)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@dataclass
class Clore:
    """One user with an account, a home and a key. No output may show one of the user's secrets."""

    home: Path
    env: dict[str, str]
    key: str = ""
    secrets: list[str] = field(default_factory=list)

    def __call__(
        self,
        *args: object,
        stdin: str = "",
        timeout: float = 60,
        fails: int | None = 0,
        process: Forks | None = None,
        inside: bool = False,
        cwd: Path | None = None,
        **env: str,
    ) -> Result:
        """Run the command to its end. `fails` is the exit code it must have; None accepts any.

        A short command runs inside this process, and so do a refused one and one that is said to
        start no program (`inside`). Any other, and one called from a thread, is a fork of
        `process`, or of the process that all tests share.
        """
        words, env = list(map(str, args)), {**self.env, **env}
        if process is None and "PYTHONPATH" in env:
            process = forks_with(env["PYTHONPATH"])
        if "PYTHONIOENCODING" in env:
            done = subprocess.run(
                [*CLORE, *words], env=env, input=stdin, capture_output=True, text=True,
                timeout=timeout, check=False,
            )  # fmt: skip
        elif not process and _in_main_thread() and (inside or _short(words, fails)):
            done = in_process.run(words, env, stdin, shared_forks().python, cwd)
        else:
            forks = process or shared_forks()
            done = forks.run(["clore", *words], env, stdin, timeout, cwd=cwd)
        result = Result(done.returncode, done.stdout, done.stderr)
        self.check(result.out + result.err)
        assert fails in (None, result.code), result
        return result

    def check(self, output: str) -> None:
        """Check that the output has no traceback and no secret."""
        assert "Traceback" not in output, output
        for secret in (self.key, *self.secrets):
            assert not secret or secret not in output, f"a secret is shown: {output}"

    def start(self, *args: object, **options: Any) -> subprocess.Popen[str]:
        """Start the command beside the test, in a process group of its own."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        env = {**self.env, **options.pop("env", {})}
        options = {"start_new_session": True, "text": True, **pipes, **options}
        return Fork(shared_forks(), ["clore", *map(str, args)], env=env, **options)

    def with_(self, **env: str) -> Clore:
        """The same user with other environment variables; an empty value removes the variable."""
        merged = {k: v for k, v in {**self.env, **env}.items() if v}
        return replace(self, env=merged)


@dataclass
class Renter(Clore):
    """A user with money, in a marketplace that the test can inspect."""

    market: Sandbox = None  # type: ignore[assignment]
    take: Callable[[], int] = None  # type: ignore[assignment]

    def server(self) -> int:
        """A free server that takes USD and bitcoin; no other test of this marketplace gets it."""
        return self.take()

    def rent(self, *options: object, server: int | None = None) -> int:
        """A new order on a server of its own; SSH is ready."""
        words = ("deploy", server or self.server(), *DEPLOY, "USD-Blockchain", "--wait")
        return int(self(*words, *options).out)

    def fault(self, endpoint: str, kind: str, **more: Any) -> int:
        """Make the next matching requests of this user fail; returns the number of the fault."""
        return self.market.fault(endpoint, kind, key=self.key, **more)  # type: ignore[arg-type]

    def happened(self, fault: int) -> bool:
        """Whether each request meant for the fault has arrived; answers may be pending."""
        return fault not in {each.id for each in self.market.faults()}

    def requests(self, endpoint: str) -> list[Entry]:
        """The requests that this user sent to this endpoint."""
        return [
            e
            for e in self.market.journal()
            if e.endpoint == endpoint and e.key and self.key.endswith(e.key[-4:])
        ]

    def orders(self) -> list[int]:
        """The orders that the marketplace really made for this user."""
        return [e.order for e in self.requests("create_order") if e.order is not None]


class Terminal:
    """A terminal of a given width with a shell in it, in a tmux server of its own.

    Its `clore` is a fork, to which the terminal's signals are passed on; if `alone`, it is a
    process of its own.
    """

    def __init__(self, user: Clore, folder: Path, width: int = 100, *, alone: bool = False) -> None:
        self.user = user
        # Short, because the path of a socket may have only about 100 characters.
        self.tmux = ["tmux", "-L", f"clore-{uuid.uuid4().hex[:12]}", "-f", os.devnull]
        shell = folder / "bin"
        shell.mkdir(exist_ok=True)
        clore = CLORE if alone else [*shared_forks().program, "clore"]
        (shell / "clore").write_text(f'#!/bin/sh\nexec {shlex.join(clore)} "$@"\n')
        (shell / "clore").chmod(0o700)
        env = {
            **user.env,
            "PATH": f"{shell}:{user.env['PATH']}",
            "PS1": "> ",
            "HISTFILE": os.devnull,
        }
        words = " ".join(f"{k}={shlex.quote(v)}" for k, v in env.items())
        self._tmux(
            "new-session", "-d", "-x", str(width), "-y", "60",
            f"exec env -i TERM=screen {words} bash --norc --noprofile",
        )  # fmt: skip
        self.wait(">")

    def _tmux(self, *words: str) -> str:
        done = subprocess.run(
            [*self.tmux, *words], capture_output=True, text=True, timeout=20, check=True
        )
        return done.stdout

    @property
    def screen(self) -> str:
        text = "\n".join(line.rstrip() for line in self._tmux("capture-pane", "-p").splitlines())
        return text.strip()

    def keys(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def type(self, line: str) -> None:
        self._tmux("send-keys", "-l", line)
        self.keys("Enter")

    def run(self, line: str) -> str:
        """The screen once the command has ended; its last line is like ``end=0``."""
        self.start(line)
        return self.wait("end=")

    def start(self, line: str) -> None:
        self._tmux("send-keys", "-R")
        self._tmux("clear-history")
        self.type(f"clear; {line}; echo en''d=$?")

    def wait(self, text: str, timeout_s: float = 25.0) -> str:
        """Wait until the screen holds `text`; returns the screen."""
        deadline = time.monotonic() + timeout_s
        while text not in (screen := self.screen):
            assert time.monotonic() < deadline, f"no {text!r} on the screen:\n{screen}"
            time.sleep(0.15)  # each look is a process
        self.user.check(screen)
        return screen

    def close(self) -> None:
        subprocess.run([*self.tmux, "kill-server"], capture_output=True, check=False, timeout=20)


def interrupt(process: subprocess.Popen[str], *, group: bool = True) -> None:
    """Send Ctrl-C as a terminal does: to the whole process group."""
    if group:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT)


def processes_with(mark: str) -> list[str]:
    """Command lines of running processes with `mark` in the environment or command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        if command and mark.encode() in command + environment and int(folder.name) != os.getpid():
            found.append(command.replace(b"\0", b" ").decode("utf-8", "replace"))
    return found


def masters(home: Path) -> list[int]:
    """The ssh master processes of this user's commands."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (each / "cmdline").read_bytes()
            if b"ControlMaster=yes" in words and os.fsencode(home) in words:
                found.append(int(each.name))
    return found


def followers(renter: Renter) -> list[int]:
    """This user's background processes that follow jobs."""
    return _in_background(renter, b"clore_ai.cli.supervise.follower")


def keepers(renter: Renter) -> list[int]:
    """This user's background processes that keep limits."""
    return _in_background(renter, b"clore_ai.cli.supervise.keeper")


def _in_background(renter: Renter, module: bytes) -> list[int]:
    while True:
        found, asking = [], 0
        for each in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (each / "cmdline").read_bytes().split(b"\0")
                mine = f"CLORE_HOME={renter.home}".encode()
                if module in words and mine in (each / "environ").read_bytes():
                    alone = words[1] == b"-m"
                    found += [int(each.name)] * alone
                    asking += not alone
        if asking <= len(found):  # or a fork is about to start, or has just ended
            return found
        time.sleep(0.01)


def kill_follower(renter: Renter) -> None:
    """Kill the job's follower, as if the laptop were switched off; a copy of ssh may live on."""
    until(lambda: followers(renter), "the follower")
    (pid,) = followers(renter)
    os.kill(pid, signal.SIGKILL)
    until(lambda: not followers(renter), "the end of the follower")
