"""Every login that a ``--json`` output describes works exactly as printed."""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import TYPE_CHECKING

import own_ssh
import pytest
from tests.cli.driver import DEPLOY
from waiting import until

from clore_sandbox import Sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.driver import Renter

PASSWORD = "Secret123"


def login_options(login: str, folder: Path) -> tuple[str, ...]:
    """The options of `clore deploy` and `clore rent` for a password or a key."""
    if login == "password":
        return ("--ssh-password", PASSWORD)
    if login == "own key":
        return ()
    key = folder / "a key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
    return ("--ssh-key-file", str(key))


@pytest.mark.parametrize("login", ["own key", "key file", "password"])
def test_printed_commands_log_in(login: str, renter: Renter, tmp_path: Path) -> None:
    """deploy, orders, ssh and monitor print a working command, for a password and for a key."""
    words = ("--wait", "--json", "--port", "22:tcp", *login_options(login, tmp_path))
    made = renter("deploy", renter.server(), *DEPLOY, "usd", *words).data
    (listed,) = renter("orders", "--json").data
    watched = map(json.loads, renter("monitor", "--json", "--once").out.splitlines())
    lines = [made["ssh_command"], listed["ssh_command"]]
    lines += [each["ssh_command"] for look in watched for each in look.get("orders", ())]
    assert len(lines) == 3
    lines.append(shlex.join(renter("ssh", made["id"], "--json").data["command"]))
    assert made["status"] == "running"
    typed = own_ssh.environment(tmp_path / "bin", PASSWORD if login == "password" else "wrong")
    for line in lines:
        until(lambda line=line: own_ssh.logs_in(line, typed), line)


def test_the_command_that_rent_prints_logs_in(renter: Renter, tmp_path: Path) -> None:
    """The test has a marketplace of its own, since `clore rent` takes any server it likes."""
    words = ("--gpu", "RTX 4090", "--yes", "--json", "--verify", "ssh")
    with Sandbox(limits=False, visibility_lag_s=0, boot_s=0) as market:
        there = {"CLORE_BASE_URL": market.base_url, "CLORE_API_KEY": market.api_key}
        order = renter("rent", *words, **there).data
        typed = own_ssh.environment(tmp_path / "bin", "wrong")
        until(lambda: own_ssh.logs_in(order["ssh_command"], typed), order["ssh_command"])
