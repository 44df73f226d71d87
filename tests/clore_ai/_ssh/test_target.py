"""OpenSSH's options: what it makes of ours, as it says itself (`ssh -G`)."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from clore_ai._ssh.target import ALONE, FORWARDING, KEPT, Target, options, read_options
from clore_ai.exceptions import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def effective(target: Target, *more: str) -> dict[str, str]:
    """What ssh would do."""
    words = target.ssh(None, *more)
    said = subprocess.run([words[0], "-G", *words[1:]], capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in said.stdout.splitlines() if " " in line)


@pytest.mark.parametrize("more", [(), ALONE, FORWARDING, KEPT])
def test_nothing_of_the_user_goes_along(more: tuple[str, ...], tmp_path: Path) -> None:
    """No agent, display, variable, credential or tunnel; one key; no command here or there."""
    key = tmp_path / "a key % it"
    target = Target(1, "203.0.113.9", 1972, options(tmp_path / "known hosts", key))
    found = effective(target, *more)
    for name in (
        "forwardagent", "forwardx11", "forwardx11trusted", "gssapiauthentication",
        "gssapidelegatecredentials", "hostbasedauthentication", "permitlocalcommand",
        "updatehostkeys",
    ):  # fmt: skip
        assert found.get(name, "no") in ("no", "false"), name
    assert found["tunnel"] in ("false", "no")
    assert found["identitiesonly"] == "yes"
    assert found["identityfile"] == str(key).replace("%", "%%")
    assert found["globalknownhostsfile"] == "/dev/null"
    assert not {"sendenv", "localcommand", "proxyjump", "proxycommand"} & set(found)
    assert found.get("remotecommand", "none") == "none"
    assert target.ssh("ls")[-3:] == ("--", "root@203.0.113.9", "ls")


def test_no_key_is_none(tmp_path: Path) -> None:
    """Where no key is known, none of the user's own is tried."""
    target = Target(1, "203.0.113.9", 22, options(tmp_path / "k", None))
    assert effective(target)["identityfile"] == "none"


def test_what_the_user_wants_wins(tmp_path: Path) -> None:
    """The setting `ssh_options` comes first: a jump host, another key."""
    wanted = read_options("-J me@bastion -o ForwardAgent=yes -i ~/.ssh/work -oCompression=yes")
    target = Target(1, "203.0.113.9", 22, options(tmp_path / "k", None, wanted))
    found = effective(target)
    assert (found["proxyjump"], found["forwardagent"], found["compression"]) == (
        "me@bastion", "yes", "yes",
    )  # fmt: skip


@pytest.mark.parametrize(
    "text", ["-A", "bastion", "-o", "-o ForwardAgent", "-J", "-F /etc/x", "-o 'open", "-L 1:a:2"]
)
def test_what_can_not_be_an_option_is_refused(text: str) -> None:
    """Only what every program of OpenSSH takes, in one form."""
    with pytest.raises(ConfigError, match=r"-o NAME=VALUE, -J HOST or -i FILE"):
        read_options(text)
