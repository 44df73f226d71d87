"""OpenSSH's command lines: the only place that makes its options.

A rented machine is a stranger's, and the user's and the system's configuration were not written for
strangers, so they are ignored (``-F none``). No agent, display, environment or credential is
forwarded, no local command runs, and only the order's own key is offered. The setting `ssh_options`
adds options that the user needs, such as a jump host.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clore_ai._values.text import plain
from clore_ai.exceptions import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

USER = "root"

_SAFE = (
    "ForwardAgent=no",
    "ForwardX11=no",
    "ForwardX11Trusted=no",
    "GSSAPIAuthentication=no",
    "GSSAPIDelegateCredentials=no",
    "HostbasedAuthentication=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "Tunnel=no",
    "UpdateHostKeys=no",
    "VerifyHostKeyDNS=no",
    "StrictHostKeyChecking=accept-new",
    "IdentitiesOnly=yes",
    "LogLevel=ERROR",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=3",
)
ALONE = (
    "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ControlMaster=no",
    "-o", "ControlPath=none", "-o", "ClearAllForwardings=yes", "-T",
)  # fmt: skip
"""A separate connection without prompts. A shared one would keep standard error open."""
FORWARDING = (
    "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ControlMaster=no",
    "-o", "ControlPath=none", "-o", "ExitOnForwardFailure=yes", "-T", "-N",
)  # fmt: skip
"""A connection for a forwarded port and nothing else."""
KEPT = (
    "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5",
    "-o", "ControlMaster=yes", "-T", "-N",
)  # fmt: skip
"""The connection that others share, over the socket of `sharing`."""


@dataclass(frozen=True)
class Target:
    """The address of an order's SSH, and OpenSSH's options for it."""

    order_id: int
    host: str
    port: int
    options: tuple[str, ...] = ()
    """``-o`` pairs and ``-F``, which the other programs of OpenSSH accept, too."""
    user: str = USER

    @property
    def address(self) -> str:
        """``root@HOST``."""
        return f"{self.user}@{self.host}"

    def ssh(self, command: str | None = None, *more: str) -> tuple[str, ...]:
        """The command line of ssh: a shell, or one `command` (a line for the machine's shell).

        `more`: options, before the address.
        """
        # OpenSSH takes the first value that it sees.
        words = ("ssh", "-p", str(self.port), *more, *self.options, "--", self.address)
        return words if command is None else (*words, command)

    def sharing(self, socket: Path) -> tuple[str, ...]:
        """Options of a connection that shares the one at `socket`."""
        return (
            "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ControlMaster=no",
            "-o", f"ControlPath={plain_path(socket)}", "-T",
        )  # fmt: skip


def options(
    known_hosts: Path, identity: Path | None, wanted: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """The options of every connection to one order.

    Args:
        known_hosts: the file for its host key.
        identity: the only key that is offered, private or public; None for none.
        wanted: the user's own options, which take precedence.
    """
    ours = (
        f'UserKnownHostsFile="{plain_path(known_hosts)}"',
        f"GlobalKnownHostsFile={os.devnull}",
        f"IdentityFile={_key(identity)}",
        *_SAFE,
    )
    return ("-F", "none", *wanted, *(word for each in ours for word in ("-o", each)))


def unkept(identity: Path | None, wanted: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The options of a line for the user's own shell, to an order without files.

    The user's own configuration, keys and agent apply, with `identity` first. Hosts and ports are
    reused by other machines, so no host key is kept.
    """
    key = () if identity is None else (f"IdentityFile={_key(identity)}",)
    ours = (*key, "StrictHostKeyChecking=accept-new", f"UserKnownHostsFile={os.devnull}")
    return (*wanted, *(word for each in ours for word in ("-o", each)))


def _key(identity: Path | None) -> str:
    # An option instead of -i, which looks for the file before it expands tokens.
    return "none" if identity is None else f'"{plain_path(identity)}"'


def plain_path(path: Path) -> str:
    """A path in which OpenSSH sees no token to expand."""
    return str(path).replace("%", "%%")


def read_options(text: str) -> tuple[str, ...]:
    """The setting `ssh_options` as ``-o`` pairs.

    Raises:
        ConfigError: it contains anything but ``-o NAME=VALUE``, ``-J HOST`` and ``-i FILE``.
    """
    try:
        words = shlex.split(text)
    except ValueError as exc:
        raise ConfigError(f"ssh_options can't be read ({exc}): {_FORM}") from exc
    found: list[str] = []
    while words:
        word = words.pop(0)
        flag, value = word[:2], word[2:] or (words.pop(0) if words else "")
        names = {"-o": "", "-J": "ProxyJump=", "-i": "IdentityFile="}
        if flag not in names or not value or (flag == "-o" and "=" not in value):
            raise ConfigError(f"ssh_options does not accept {word!r}: {_FORM}")
        found += ["-o", names[flag] + value]
    return tuple(found)


def check_options(text: str) -> None:
    """Check the setting `ssh_options`, also with OpenSSH if it is installed.

    Raises:
        ConfigError: as `read_options`, or ssh does not accept an option.
    """
    import subprocess  # rarely needed, and slow to import

    words = ("ssh", "-G", "-F", "none", *read_options(text), "--", "host")
    try:
        done = subprocess.run(words, capture_output=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603 - ssh only prints its settings
    except OSError:
        return
    if done.returncode != 0:
        raise ConfigError(f"ssh does not accept these ssh_options: {plain(done.stderr)}")


_FORM = "write -o NAME=VALUE, -J HOST or -i FILE, e.g. '-J me@bastion.example'."
