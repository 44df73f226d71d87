"""The default key of orders is made once, whichever command needs it first."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import programs
import pytest

from clore_ai._ssh.order_keys import own_key
from clore_ai.exceptions import InvalidInputError

if TYPE_CHECKING:
    from pathlib import Path

ASK = """
import sys
from pathlib import Path
from clore_ai._ssh.order_keys import own_key
sys.stdin.read()
print(own_key(Path(sys.argv[1]))[0])
"""


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder at the front of PATH with a slow ssh-keygen."""
    folder = tmp_path / "programs"
    folder.mkdir()
    program = folder / "ssh-keygen"
    program.write_text(f'#!/bin/sh\nsleep 0.3\nexec {shutil.which("ssh-keygen")} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return program


def test_concurrent_first_commands_get_one_key(slow: Path, home: Path) -> None:
    """Each succeeds with the same key, the one in the state folder."""
    asking = [
        programs.start(ASK, home, stdin=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)
    ]
    for process in asking:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    said = [process.communicate(timeout=60) for process in asking]
    assert [err for _, err in said] == [""] * 4
    keys = {out.strip() for out, _ in said}
    text, private = own_key(home)
    assert keys == {text}
    made = subprocess.run(["ssh-keygen", "-y", "-f", private], capture_output=True, text=True)
    assert made.stdout.split()[:2] == text.split()[:2]
    assert private.stat().st_mode & 0o777 == 0o600
    assert {p.name for p in private.parent.iterdir() if p.stat().st_size} == {
        "id_ed25519",
        "id_ed25519.pub",
    }


@pytest.mark.parametrize("left", ["id_ed25519", "id_ed25519.pub", "id_ed25519.new"])
def test_half_of_a_key_pair_is_replaced(home: Path, left: str) -> None:
    """What a killed command left over blocks no later one."""
    (home / "ssh").mkdir(parents=True)
    (home / "ssh" / left).write_text("half")
    text, private = own_key(home)
    assert text.startswith("ssh-ed25519 ")
    assert "PRIVATE KEY" in private.read_text()


def test_a_key_that_cannot_be_made(slow: Path, home: Path) -> None:
    """The error names the reason, and the next command tries again."""
    program = slow.read_text()
    slow.write_text("#!/bin/sh\necho no entropy >&2\nexit 1\n")
    with pytest.raises(InvalidInputError, match=r"could not create .* \(no entropy\)"):
        own_key(home)
    slow.write_text(program)
    assert own_key(home)[0]
