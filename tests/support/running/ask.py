"""Runs its arguments in a fork (see `forks`) on its own terminal, streams and open files.

It passes signals on to the fork, as a terminal would, and ends as the fork does; if it is
killed, so is the fork. It imports little, to start quickly.
"""

# ruff: noqa: PTH109, PTH110, PTH208 - pathlib takes long to import
from __future__ import annotations

import json
import os
import signal
import socket
import sys

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGWINCH)


def main(address: str, *words: str) -> None:
    """Ask the process at this address."""
    numbers = _open_files()
    signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    with socket.socket(socket.AF_UNIX) as asked:
        asked.connect(address)
        task = {"argv": words, "env": dict(os.environ), "cwd": os.getcwd(),
                "numbers": numbers, "session": True, "tied": True}  # fmt: skip
        message = json.dumps(task).encode()
        socket.send_fds(asked, [len(message).to_bytes(8, "big")], numbers)
        asked.sendall(message)
        pid = int.from_bytes(asked.recv(8), "big")
        for number in set(numbers) - {0, 1, 2}:
            os.close(number)  # locks, which end with the fork
        for each in _PASSED_ON:
            signal.signal(each, lambda number, _frame: os.killpg(pid, number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
        code = int.from_bytes(asked.recv(8), "big", signed=True)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def _open_files() -> list[int]:
    found = [int(name) for name in os.listdir("/proc/self/fd")]
    return [number for number in found if os.path.exists(f"/proc/self/fd/{number}")]


if __name__ == "__main__":
    main(*sys.argv[1:])
