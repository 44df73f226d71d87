"""Faults on the renter's side: ssh programs that fail as real ones do, and broken keys."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SSH = """#!/bin/sh
# `ssh -G` reads options; every connection fails as it would without a network.
case " $* " in *" -G "*) exec {real} "$@";; esac
[ -e {flag} ] || exec {real} "$@"
echo "$@" >> {log}
while [ $# -gt 0 ]; do
  case "$1" in
    -p) port=$2; shift;;
    --) host=${{2#*@}}; break;;
  esac
  shift
done
echo "{says}" >&2
exit 255
"""
UNREACHABLE = "ssh: connect to host $host port $port: Network is unreachable"
UNRESOLVED = "ssh: Could not resolve hostname $host: Temporary failure in name resolution"


class Ssh:
    """A folder for the PATH whose `ssh` is the real one until it is `broken`."""

    def __init__(self, folder: Path, says: str = UNREACHABLE) -> None:
        self.folder, self._flag, self._log = folder, folder / "broken", folder / "log"
        folder.mkdir()
        words = {"real": shlex.quote(str(shutil.which("ssh"))), "says": says}
        (folder / "ssh").write_text(_SSH.format(**words, flag=self._flag, log=self._log))
        (folder / "ssh").chmod(0o755)

    def breaks(self) -> None:
        """Make `ssh` fail from now on."""
        self._flag.touch()

    def mends(self) -> None:
        """Make `ssh` work again."""
        self._flag.unlink()

    @property
    def tries(self) -> int:
        """How many connections have been tried since."""
        return len(self._log.read_text().splitlines()) if self._log.exists() else 0


def key(path: Path, passphrase: str = "") -> Path:
    """Make a key pair; the path of its private key."""
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)]
    subprocess.run(words, check=True, capture_output=True)
    return path


def _empty(private: Path) -> None:
    private.write_bytes(b"")


def _cut(private: Path) -> None:
    private.write_bytes(private.read_bytes()[:120])


def _open(private: Path) -> None:
    private.chmod(0o644)


def _another(private: Path) -> None:
    other = key(private.with_name("other"))
    other.replace(private)


def _another_public(private: Path) -> None:
    key(private.with_name("other"))
    private.with_name("other.pub").replace(private.with_suffix(".pub"))


def _no_public(private: Path) -> None:
    private.with_suffix(".pub").write_bytes(b"\0\0\0")


KEYS = {
    "empty": (_empty, "is empty"),
    "damaged": (_cut, "is damaged"),
    "open to others": (_open, "chmod 600"),
    "another private key": (_another, "does not belong to the public key"),
    "another public key": (_another_public, "does not belong to the public key"),
    "no public key": (_no_public, "ssh-keygen -y -f"),
}
"""Faults of the key in the state folder, and the message of each."""
