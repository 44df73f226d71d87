"""The processes of this machine."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def running(command: str) -> bool:
    """Whether a process has this command line."""
    words = command.encode().replace(b" ", b"\0") + b"\0"
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cmdline").read_bytes() == words:
                return True
    return False
