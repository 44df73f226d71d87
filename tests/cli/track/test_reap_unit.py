"""`clore reap --install`: systemd, else cron, else one sentence; existing lines are kept."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.cli.driver import shared_forks

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.driver import Clore, Renter

SYSTEMCTL = """#!/bin/sh
echo "$*" >> "$HOME/systemctl.log"
case "$2" in
  is-active) echo active;;
  show-environment) exit "${NO_SYSTEMD:-0}";;
esac
"""
CRONTAB = """#!/bin/sh
case "$1" in
  -l) [ -e "$HOME/crontab" ] || { echo "no crontab for you" >&2; exit 1; }
      [ -z "$CRON_FAILS" ] || { echo "not allowed" >&2; exit 1; }
      cat "$HOME/crontab";;
  -) cat > "$HOME/crontab";;
esac
"""


@pytest.fixture
def user(renter: Renter, tmp_path: Path) -> Clore:
    """A user with the key in the config file; systemctl and crontab only record their calls."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("systemctl", SYSTEMCTL), ("crontab", CRONTAB)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o700)
    path = f"{programs}:{renter.env['PATH']}"
    found = renter.with_(PATH=path, CLORE_API_KEY="", XDG_CONFIG_HOME="")
    found("config", "set", "api_key", stdin=renter.key + "\n")
    return found


def units(user: Clore) -> list[Path]:
    return list((user.home.parent / ".config" / "systemd" / "user").glob("*"))


def test_a_systemd_unit(user: Clore) -> None:
    """It has the folder and the address, and no key; a second install changes nothing."""
    assert "loginctl enable-linger" in user("reap", "--install").err
    (unit,) = units(user)
    text = unit.read_text()
    assert (
        f'ExecStart="{shared_forks().python}" "-m" "clore_ai" "reap" "--every" "60s" "--json"'
        in text
    )
    assert f'Environment="CLORE_HOME={user.home}"' in text
    assert f'Environment="CLORE_BASE_URL={user.env["CLORE_BASE_URL"]}"' in text
    assert user.key not in text
    user("reap", "--install")
    assert [each.read_text() for each in units(user)] == [text]
    log = (user.home.parent / "systemctl.log").read_text()
    assert f"--user enable {unit.name}\n--user restart {unit.name}\n" in log
    assert f"systemd: {unit.name} is active." in user("reap", "--status").err
    assert user("reap", "--status", "--json").data["systemd"] == "active"
    assert f"{unit.name} of systemd is removed." in user("reap", "--uninstall").err
    assert units(user) == []
    assert f"disable --now {unit.name}" in (user.home.parent / "systemctl.log").read_text()
    assert "Nothing was installed." in user("reap", "--uninstall").err


def test_a_line_of_cron(user: Clore) -> None:
    """Cron is used if systemd does not work; other lines stay, and the new one runs `reap`."""
    crontab = user.home.parent / "crontab"
    user = user.with_(NO_SYSTEMD="1")
    crontab.write_text("# mine\n0 0 * * * true\n")
    for _ in range(2):
        assert "cron runs clore reap" in user("reap", "--install").err
        *mine, line = crontab.read_text().splitlines()
        assert mine == ["# mine", "0 0 * * * true"]
    assert line.startswith("* * * * * env CLORE_HOME=")
    assert user.key not in line
    assert units(user) == []
    command = line.split("* * * * * ")[1].replace("\\%", "%")
    assert shlex.split(command)[-1].startswith("clore-reap-")
    done = subprocess.run(["sh", "-c", command], env={"PATH": user.env["PATH"]}, check=False)
    assert done.returncode == 0
    assert (user.home / "reap.log").read_text() == ""
    assert user("reap", "--status", "--json").data["cron"] is True
    user("reap", "--uninstall")
    assert crontab.read_text() == "# mine\n0 0 * * * true\n"


def test_a_first_crontab(user: Clore) -> None:
    """The user had no crontab before."""
    user.with_(NO_SYSTEMD="1")("reap", "--install")
    assert len((user.home.parent / "crontab").read_text().splitlines()) == 1


def test_neither_systemd_nor_cron(user: Clore) -> None:
    """One sentence has the next step; a crontab that cannot be read is not overwritten."""
    crontab = user.home.parent / "crontab"
    crontab.write_text("0 0 * * * true\n")
    said = user.with_(NO_SYSTEMD="1", CRON_FAILS="1")("reap", "--install", fails=2).err
    assert "Neither systemd nor cron is available here." in said
    assert "clore reap --every 60s" in said
    assert crontab.read_text() == "0 0 * * * true\n"
    nothing = user.with_(PATH="/nowhere")
    assert "clore reap --every 60s" in nothing("reap", "--install", fails=2).err


def test_the_key_must_be_stored(user: Clore) -> None:
    """Neither systemd nor cron reads the environment of a shell."""
    said = user.with_(CLORE_API_KEY=user.key)("reap", "--install", fails=2).err
    assert "The key comes from CLORE_API_KEY" in said
    assert "clore config set api_key" in said
    bare = user.with_(CLORE_HOME=str(user.home.with_name(".bare")))
    assert "clore config set api_key" in bare("reap", "--install", fails=3).err
    assert units(user) == []


def test_install_takes_no_options_of_a_run(user: Clore) -> None:
    """`--every` and `--dry-run` are for a `reap` that runs now."""
    said = user("reap", "--install", "--dry-run", fails=2).err
    assert "--install can only be combined with --json" in said
