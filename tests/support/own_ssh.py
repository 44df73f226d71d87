"""An `ssh` for tests that reads nobody's configuration, and answers for a password."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def environment(folder: Path, password: str, *options: str) -> dict[str, str]:
    """The variables by which the machine's ssh is found, with `options` before all others.

    It has no terminal to ask on: `password` is all that it is told, whatever it asks for.
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
    """Does this line of a shell, as it stands, run a command on the machine?"""
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
