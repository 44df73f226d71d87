"""Every ``--json`` that says how to log in is right as it stands."""

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


def way_in(login: str, folder: Path) -> tuple[str, ...]:
    """The options of `clore deploy` and `clore rent` for a login."""
    if login == "password":
        return ("--ssh-password", PASSWORD)
    if login == "own key":
        return ()
    key = folder / "a key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
    return ("--ssh-key-file", str(key))


@pytest.mark.parametrize("login", ["own key", "key file", "password"])
def test_the_lines_log_in(login: str, renter: Renter, tmp_path: Path) -> None:
    """Of deploy, orders, ssh and monitor: a password is typed, a key opens it without."""
    words = ("--wait", "--json", "--port", "22:tcp", *way_in(login, tmp_path))
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


def test_the_line_of_a_rental_logs_in(renter: Renter, tmp_path: Path) -> None:
    """What `clore rent --json` prints; in a market of its own, since it takes what it likes."""
    words = ("--gpu", "RTX 4090", "--yes", "--json", "--verify", "ssh")
    with Sandbox(limits=False, visibility_lag_s=0, boot_s=0) as market:
        there = {"CLORE_BASE_URL": market.base_url, "CLORE_API_KEY": market.api_key}
        order = renter("rent", *words, **there).data
        typed = own_ssh.environment(tmp_path / "bin", "wrong")
        until(lambda: own_ssh.logs_in(order["ssh_command"], typed), order["ssh_command"])
