"""An `ssh` for tests that reads no user's configuration and answers the password prompt."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def environment(folder: Path, password: str, *options: str) -> dict[str, str]:
    """Variables that put this `ssh` first, with `options` before all others.

    Without a terminal, `password` answers every prompt.
    """
    program = shutil.which("ssh")
    if program is None:
        pytest.skip("needs ssh")
    folder.mkdir(exist_ok=True)
    first = " ".join(("-F none", *options))
    (folder / "ssh").write_text(f'#!/bin/sh\nexec {program} {first} "$@"\n')
    (folder / "askpass").write_text(f"#!/bin/sh\necho '{password}'\n")
    for file in folder.iterdir():
        file.chmod(0o700)
    return {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "SSH_ASKPASS": str(folder / "askpass"),
        "SSH_ASKPASS_REQUIRE": "force",
    }


def logs_in(line: str, env: dict[str, str]) -> bool:
    """True if this shell line, unchanged, runs a command on the machine."""
    done = subprocess.run(
        ["sh", "-c", f"{line} echo in"],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        start_new_session=True,
        text=True,
        timeout=60,
    )
    return done.stdout == "in\n"
