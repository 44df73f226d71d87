"""Our options of OpenSSH, as ssh itself interprets them (`ssh -G`)."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from clore_ai._ssh.target import ALONE, FORWARDING, KEPT, Target, options, read_options
from clore_ai.exceptions import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def effective(target: Target, *more: str) -> dict[str, str]:
    """The settings that ssh would use."""
    words = target.ssh(None, *more)
    said = subprocess.run([words[0], "-G", *words[1:]], capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in said.stdout.splitlines() if " " in line)


@pytest.mark.parametrize("more", [(), ALONE, FORWARDING, KEPT])
def test_no_setting_of_the_user_is_used(more: tuple[str, ...], tmp_path: Path) -> None:
    """OpenSSH gets no agent, display, variable, credential, tunnel or command; and one key."""
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


def test_without_a_key_no_key_is_tried(tmp_path: Path) -> None:
    """If no key is known, ssh tries none of the user's own."""
    target = Target(1, "203.0.113.9", 22, options(tmp_path / "k", None))
    assert effective(target)["identityfile"] == "none"


def test_the_user_s_ssh_options_take_precedence(tmp_path: Path) -> None:
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
def test_invalid_ssh_options_are_refused(text: str) -> None:
    """Only options that every program of OpenSSH accepts are allowed, in one form."""
    with pytest.raises(ConfigError, match=r"-o NAME=VALUE, -J HOST or -i FILE"):
        read_options(text)
