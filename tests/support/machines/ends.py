"""How a command ends at a bad machine: in time, with a sentence, without an `ssh` of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.driver import Renter

SOON_S = 20.0
"""A Ctrl-C ends it within 15 s; the machine of the tests is busy."""
WAITING = "echo up; mkdir -p results; echo 1 > results/new; until [ -e go ]; do sleep 0.1; done"
FLOODS = {
    "bytes": "head -c 150000000 /dev/zero; : > sent; exec sleep 1000000",
    "errors": "head -c 150000000 /dev/zero >&2; : > sent; exec sleep 1000000",
    "lines of errors": "yes 'an error' | head -c 60000000 >&2; : > sent; exec sleep 1000000",
}
"""Each makes the file `sent` when all of it was read, or the reader stopped."""


@contextmanager
def killed(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Kill the process at the end of the block."""
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        with process:
            pass


def programs_of(home: Path) -> dict[int, str]:
    """Processes that clore started for this state folder: ssh and its children."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            marked = os.fsencode(home) in (folder / "environ").read_bytes() + b" ".join(words)
        except OSError:
            continue
        name = words[0].split(b":")[0].rsplit(b"/", 1)[-1]
        if marked and name in (b"ssh", b"scp", b"sftp", b"rsync", b"tar", b"sh"):
            found[int(folder.name)] = b" ".join(words).decode("utf-8", "replace")[:200]
    return found


def remaining(home: Path) -> dict[int, str]:
    """The processes that remain after some seconds."""
    deadline = time.monotonic() + 5
    while (found := programs_of(home)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def ends(
    renter: Renter, process: subprocess.Popen[str], order: int, number: int,
    hung: Callable[[], bool], more_s: float = 0.5,
) -> list[str]:  # fmt: skip
    """Signal the process once it hangs; returns what is wrong with its end."""
    deadline = time.monotonic() + 30
    while not hung() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(more_s)  # well within the time limit
    if process.poll() is None:
        process.send_signal(number)
    begun = time.monotonic()
    try:
        out, err = process.communicate(timeout=SOON_S)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        return [f"it went on for {SOON_S:.0f} s after the signal, and said: {err[-300:]!r}"]
    renter.check((out or "") + err)
    wrong = []
    wanted = {signal.SIGINT: (130, 1), signal.SIGTERM: (130, 1), signal.SIGHUP: (129, 130, 1)}
    if process.returncode not in wanted[signal.Signals(number)]:
        wrong.append(f"exit {process.returncode} after {time.monotonic() - begun:.0f} s: {err!r}")
    if str(order) not in err:
        wrong.append(f"not a word of what runs, or was cancelled: {err!r}")
    return wrong
