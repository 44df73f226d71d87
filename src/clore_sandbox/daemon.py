"""Starts a marketplace in the background, finds it again and stops it, by its state folder.

Promises: a marketplace counts as found only if it answers with the instance id in the state file,
so another program that got its process id is never mistaken for it, nor sent a signal. The file
holds an API key: 0600 in a 0700 folder. Importing this module is cheap; the server's is not.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from clore_sandbox.values.json_types import as_object

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from clore_sandbox.sandbox import Sandbox

__all__ = [
    "CONTROL_KEY_VARIABLE",
    "DB_VARIABLE",
    "FAILURE_PREFIX",
    "KEY_VARIABLE",
    "Running",
    "RunsAlready",
    "find",
    "start_detached",
    "stop",
]

KEY_VARIABLE = "CLORE_SANDBOX_API_KEY"
"""Keys reach the server in its environment: every user of a machine can read command lines."""
CONTROL_KEY_VARIABLE = "CLORE_SANDBOX_CONTROL_KEY"
DB_VARIABLE = "CLORE_SANDBOX_DB"
"""A database URL may hold a password."""

FAILURE_PREFIX = "clore sandbox: "
"""Prefix of the line that says why the server did not start."""

_SECRETS = {
    "--api-key": KEY_VARIABLE,
    "--control-key": CONTROL_KEY_VARIABLE,
    "--db": DB_VARIABLE,
}
_STATE = "sandbox.json"
_LOCK = "sandbox.lock"
_LOG = "sandbox.log"
_ANSWER_TIMEOUT_S = 2.0
_STOP_TIMEOUT_S = 15.0
_LONGEST_ANSWER = 65_536


class RunsAlready(RuntimeError):  # noqa: N818 - a state, and the message says what to do
    """A marketplace uses this state folder."""


@dataclass(frozen=True)
class Running:
    """A marketplace that answers."""

    pid: int
    base_url: str
    api_key: str
    control_url: str
    control_key: str
    instance: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which programs find it."""
        return {
            "CLORE_BASE_URL": self.base_url,
            "CLORE_API_KEY": self.api_key,
            "CLORE_CONTROL_URL": self.control_url,
            "CLORE_CONTROL_KEY": self.control_key,
        }


def start_detached(state_dir: Path, options: list[str]) -> Running:
    """Start a server with these options (see serve.py) that outlives the caller.

    Raises:
        RunsAlready: A marketplace already uses this folder.
        RuntimeError: It did not start; the message is the server's.
    """
    running = find(state_dir)
    if running is not None:
        raise RunsAlready(_already(running))
    _folder(state_dir)
    env = dict(os.environ)
    arguments = options
    for option, variable in _SECRETS.items():
        arguments, secret = _without(option, arguments)
        if secret is not None:
            env[variable] = secret
    with open(_private(state_dir / _LOG), "w+", encoding="utf-8") as log:
        process = subprocess.Popen(  # noqa: S603 - our own module
            [
                sys.executable,
                "-m",
                "clore_sandbox",
                "--json",
                "--state-dir",
                str(state_dir),
                *arguments,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=env,
            start_new_session=True,
        )
        assert process.stdout is not None  # noqa: S101 - asked for above
        try:
            with process.stdout:
                line = process.stdout.readline()
            running = find(state_dir) if line else None
        except BaseException:  # Ctrl-C: a half-started server could not be found again
            process.terminate()
            process.wait()
            raise
        if running is None:
            process.kill()
            process.wait()
            log.seek(0)
            raise RuntimeError(_reason(log.read()))
    # If it ends before the caller does, it must not stay a zombie.
    threading.Thread(target=process.wait, daemon=True).start()
    return running


def _reason(log: str) -> str:
    """Why it did not start: its last message, without the warnings before it."""
    before, said, why = log.rpartition(FAILURE_PREFIX)
    return (said + why if said else before + why).strip() or "the marketplace did not start"


def find(state_dir: Path) -> Running | None:
    """The marketplace of this folder, if it answers as itself."""
    try:
        fields: dict[str, Any] = json.loads((state_dir / _STATE).read_text(encoding="utf-8"))
        running = Running(**fields)
    except (OSError, ValueError, TypeError):
        return None
    known = isinstance(fields["pid"], int) and not isinstance(fields["pid"], bool)
    if not known or not all(isinstance(fields[name], str) for name in fields if name != "pid"):
        return None
    return running if _answers(running) else None


def _answers(running: Running) -> bool:
    try:
        where = urlsplit(running.base_url)
        connection = http.client.HTTPConnection(
            where.hostname or "", where.port, timeout=_ANSWER_TIMEOUT_S
        )
        with contextlib.closing(connection):
            connection.request("GET", "/control/health")
            body = as_object(json.loads(connection.getresponse().read(_LONGEST_ANSWER)))
    except (OSError, ValueError, http.client.HTTPException):
        return False
    return body is not None and body.get("instance") == running.instance


def stop(state_dir: Path) -> bool:
    """Stop the marketplace of this folder and wait until it is gone; False if none runs."""
    running = find(state_dir)
    if running is None:
        return False
    os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        if not _holds_lock(state_dir):
            return True
        time.sleep(0.02)
    raise RuntimeError(
        f"the marketplace (process {running.pid}) does not stop; see {state_dir / _LOG}"
    )


def _already(running: Running) -> str:
    return (
        f"a marketplace already runs at {running.base_url} (process {running.pid});"
        " `clore sandbox down` stops it"
    )


def _without(option: str, words: list[str]) -> tuple[list[str], str | None]:
    """Take an option and its value out of the words."""
    rest: list[str] = []
    value: str | None = None
    left = iter(words)
    for word in left:
        if word == option:
            value = next(left, None)
        elif word.startswith(f"{option}="):
            value = word.partition("=")[2]
        else:
            rest.append(word)
    return rest, value


# -- for the server -------------------------------------------------------------------------------


def _private(path: Path) -> int:
    """Create a file that only the user can read, replacing any old one; its descriptor."""
    path.unlink(missing_ok=True)
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)


def _folder(state_dir: Path) -> None:
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)


@contextlib.contextmanager
def claim(state_dir: Path) -> Generator[None, None, None]:
    """Lock the folder while the server runs; the system releases it if the server is killed."""
    _folder(state_dir)
    lock = os.open(state_dir / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            running = find(state_dir)
            message = (
                _already(running) if running else f"a marketplace is just starting in {state_dir}"
            )
            raise RunsAlready(message) from None
        yield
    finally:
        os.close(lock)


def _holds_lock(state_dir: Path) -> bool:
    try:
        with claim(state_dir):
            return False
    except RunsAlready:
        return True


def write(state_dir: Path, sandbox: Sandbox) -> None:
    """Write the state file, atomically."""
    running = Running(
        os.getpid(),
        sandbox.base_url,
        sandbox.api_key,
        sandbox.control_url,
        sandbox.control_key,
        sandbox.instance,
    )
    draft = state_dir / f"{_STATE}.{os.getpid()}"
    with open(_private(draft), "w", encoding="utf-8") as file:
        json.dump(asdict(running), file)
    draft.replace(state_dir / _STATE)


def forget(state_dir: Path) -> None:
    """Remove the state file."""
    (state_dir / _STATE).unlink(missing_ok=True)
