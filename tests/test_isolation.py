"""Tests read no file of the developer: no settings, keys or proxies."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

OWN = Path(pwd.getpwuid(os.getuid()).pw_dir)


def test_home_belongs_to_the_tests() -> None:
    """`~` and the state folder are new and empty."""
    assert OWN not in (Path.home(), *Path.home().parents)
    assert Path(os.environ["CLORE_HOME"]).parent == Path.home()
    theirs = ("CLORE_API_KEY", "CLORE_BASE_URL", "HTTPS_PROXY", "SSH_AUTH_SOCK", "XDG_CONFIG_HOME")
    assert not [name for name in theirs if name in os.environ]


@pytest.mark.parametrize("name", ["ssh", "scp", "sftp"])
def test_openssh_reads_no_configuration(name: str) -> None:
    """It takes the user's home from passwd, whatever HOME is: only ``-F none`` prevents that."""
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name}")
    more = ["-G", "host"] if name == "ssh" else ["-o", "ProxyCommand=false", "host:x", "/dev/null"]
    done = subprocess.run([name, "-v", *more], capture_output=True, text=True, timeout=20)
    assert "OpenSSH" in done.stderr or name != "ssh"
    assert "Reading configuration data" not in done.stderr


def test_git_reads_no_settings_of_the_user() -> None:
    """Git reads neither the user's nor the machine's settings."""
    words = ["git", "config", "--list", "--show-origin"]
    done = subprocess.run(words, cwd="/", capture_output=True, text=True, timeout=20)
    assert done.stdout == ""


def test_a_strange_environment_changes_nothing(tmp_path: Path) -> None:
    """Keys, proxies and settings around pytest do not reach the tests."""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    env = {
        **os.environ,
        "HOME": str(tmp_path),
        "CLORE_API_KEY": "of-the-user",
        "CLORE_BASE_URL": "http://127.0.0.1:9/v1",
        "https_proxy": "http://127.0.0.1:9",
        "SSH_AUTH_SOCK": "/nowhere",
        "XDG_CONFIG_HOME": str(tmp_path),
    }
    words = ["-p", "no:randomly", "-p", "no:cacheprovider", "-q", "-k", "home or openssh or git"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, __file__],
        cwd=Path(__file__).parents[1], env=env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
