"""What the processes of one test run share: the first starts it, and the last one ends it."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def shared(
    name: str, start: Callable[[Path], object], stop: Callable[[Path], object]
) -> Iterator[Path]:
    """Yields the folder in which it was started; its path is short, as that of a socket must be."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    folder = Path(tempfile.gettempdir(), f"clore-{name}-{run[:12]}")
    with _locked(folder) as lock, (folder / "users").open("w") as users:
        if not (folder / "ready").exists():
            try:
                start(folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            (folder / "ready").touch()
        fcntl.flock(users, fcntl.LOCK_SH)
        fcntl.flock(lock, fcntl.LOCK_UN)
        try:
            yield folder
        finally:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with suppress(BlockingIOError):
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                stop(folder)
                shutil.rmtree(folder, ignore_errors=True)


def _locked(folder: Path) -> IO[str]:
    """The folder's lock file, locked; the last process may remove it while this one waits."""
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileNotFoundError):
            lock = (folder / "lock").open("w")
            fcntl.flock(lock, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock.fileno()), (folder / "lock").stat()):
                    return lock
            lock.close()
