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

__all__ = ["NotInstalled", "programs", "server"]


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
    where = programs()
    # PostgreSQL refuses to run as root; Debian's package comes with a user for it.
    user = _user() if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="own-postgres-") as folder:
        if user is not None:
            shutil.chown(folder, user)
        data = Path(folder, "data")

        def run(program: str, *words: str) -> None:
            done = subprocess.run(
                [where / program, "-D", data, *words],
                user=user,
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

        with tempfile.TemporaryFile("w+") as log:
            run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N", "--locale=C")
            options = (
                *("listen_addresses=", f"unix_socket_directories={folder}", "max_connections=50"),
                # Data of tests and benchmarks need not survive a power failure.
                *("fsync=off", "full_page_writes=off", "shared_buffers=32MB", *settings),
            )
            run("pg_ctl", "start", "-w", "-o", " ".join(f"-c {option}" for option in options))
            try:
                yield f"postgresql://postgres@/postgres?host={folder}"
            finally:
                run("pg_ctl", "stop", "-w", "-m", "fast")


def _user() -> str:
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
