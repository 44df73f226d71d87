#!/usr/bin/env python3
"""Runs a private PostgreSQL server in a temporary folder, for tests and benchmarks.

As a program, it prints the URL of a fresh server and runs it until Ctrl-C. No other user can reach
the server (its unix socket is in a private folder), and it leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NotInstalled", "programs", "server", "start", "stop", "url"]


class NotInstalled(Exception):  # noqa: N818 - names the condition
    """PostgreSQL's server programs are not installed."""


def programs() -> Path:
    """The folder of `initdb` and `postgres`, which Debian does not put on the path."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not versions:
        raise NotInstalled("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    return versions[-1].parent


@contextlib.contextmanager
def server(*settings: str) -> Iterator[str]:
    """Run a server; yields the URL of its database `postgres`. `settings` are `name=value`."""
    with tempfile.TemporaryDirectory(prefix="own-postgres-") as folder:
        url = start(Path(folder), *settings)
        try:
            yield url
        finally:
            stop(Path(folder))


def start(folder: Path, *settings: str) -> str:
    """Start a server in an empty folder; the URL of its database `postgres`."""
    programs()
    if (user := _user()) is not None:
        shutil.chown(folder, user)
    _run(folder, "initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N", "--locale=C")
    options = (
        *("listen_addresses=", f"unix_socket_directories={folder}", "max_connections=50"),
        # Data of tests and benchmarks need not survive a power failure.
        *("fsync=off", "full_page_writes=off", "shared_buffers=32MB", *settings),
    )
    _run(folder, "pg_ctl", "start", "-w", "-o", " ".join(f"-c {option}" for option in options))
    return url(folder)


def url(folder: Path) -> str:
    """The URL of the database `postgres` of the server in a folder."""
    return f"postgresql://postgres@/postgres?host={folder}"


def stop(folder: Path) -> None:
    """Stop the server in a folder, whichever process started it."""
    _run(folder, "pg_ctl", "stop", "-w", "-m", "fast")


def _run(folder: Path, program: str, *words: str) -> None:
    with tempfile.TemporaryFile("w+") as log:
        done = subprocess.run(
            [programs() / program, "-D", folder / "data", *words],
            user=_user(),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            # Files, not pipes: the server would hold them open.
            stdout=log,
            stderr=log,
            # Only the parent process handles Ctrl-C; it then stops the server.
            start_new_session=True,
        )
        if done.returncode:
            log.seek(0)
            raise RuntimeError(f"{program} failed: {log.read()}")


def _user() -> str | None:
    """The user to run it as, if not this one.

    PostgreSQL refuses to run as root; Debian's package comes with a user for it.
    """
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise NotInstalled("PostgreSQL does not run as root, and there is no user to run it as")


def _main() -> None:
    with server() as url:
        print(url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    _main()
