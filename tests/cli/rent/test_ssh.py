"""`clore ssh` runs the user's OpenSSH with the order's key, and passes on its exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.cli.driver import DEPLOY, FLEET, Renter
from waiting import until

from clore_sandbox import Sandbox

if TYPE_CHECKING:
    from pathlib import Path

USD = (*DEPLOY, "USD-Blockchain")


def test_exit_codes_output_and_input_pass_through(renter: Renter) -> None:
    """One word is a shell line, several are quoted; codes, streams and signals are ssh's."""
    order = renter.rent()
    assert renter("ssh", order, "--", "nvidia-smi", "-L").out.startswith("GPU 0: ")
    assert renter("ssh", order, "--", "exit 7", fails=7).out == ""
    assert "nosuch" in renter("ssh", order, "--", "nosuch", fails=127).err
    assert renter("ssh", order, "--", "printf", "%s|", "a b", "$HOME", "'").out == "a b|$HOME|'|"
    assert renter("ssh", order, "--", "echo a && echo b >&2").out == "a\n"
    assert renter("ssh", order, "--", "cat; exit 3", stdin="through\n", fails=3).out == "through\n"

    # ssh has only 255 for a command that a signal ended; the shell's code is 128 + n.
    renter("ssh", order, "--", "kill -TERM $$", fails=255)
    renter("ssh", order, "--", "sh -c 'kill -TERM $$'; exit $?", fails=143)

    process = renter.start("ssh", order, "--", "echo up; exec sleep 60")
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    os.killpg(process.pid, signal.SIGINT)  # The process is ssh by now, and ends as ssh does.
    process.communicate(timeout=20)
    assert process.returncode in (-signal.SIGINT, 255)
    renter("cancel", order)


def test_json_prints_a_working_command(renter: Renter) -> None:
    """`ssh --json` opens no session: it prints host, port and a command that works as printed."""
    order = renter.rent()
    how = renter("ssh", order, "--json", "--", "echo", "there").data
    assert (how["order_id"], how["user"]) == (order, "root")
    done = subprocess.run(
        how["command"], env=renter.env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=True, timeout=30,
    )  # fmt: skip
    assert done.stdout == "there\n"
    renter("cancel", order)


def test_the_users_known_hosts_and_keys_are_left_alone(renter: Renter) -> None:
    """Host keys are stored and removed with the order; everything private is in a 0700 folder."""
    order = renter.rent()
    renter("ssh", order, "--", "true")
    assert not (renter.home.parent / ".ssh").exists()
    (kept,) = renter.home.glob(f"orders/*/{order}")
    assert (kept / "known_hosts").is_file()
    for path in (renter.home, *renter.home.rglob("*")):
        if not path.name.endswith(".pub") and path.name != "known_hosts":
            assert path.stat().st_mode & 0o077 == 0, path
    renter("cancel", order)
    assert not kept.exists()


def test_a_home_folder_with_odd_characters(renter: Renter, tmp_path: Path) -> None:
    """Blanks, quotes and percent signs in the state folder's path reach ssh literally."""
    home = tmp_path / "a 'home' 100%h"
    odd = renter.with_(CLORE_HOME=str(home))
    order = odd.rent()
    for _ in range(2):
        assert odd("ssh", order, "--", "echo in").out == "in\n"
    (kept,) = home.glob(f"orders/*/{order}/known_hosts")
    assert kept.is_file()
    odd("cancel", order)


@pytest.mark.parametrize("named", ["private", "public"])
def test_an_order_with_the_users_own_key(renter: Renter, tmp_path: Path, named: str) -> None:
    """--ssh-key-file takes either file of the pair; `ssh` uses that key, and none is generated."""
    key = tmp_path / "mine"
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(words, check=True, timeout=20)
    file = key if named == "private" else key.with_suffix(".pub")
    order = renter.rent("--ssh-key-file", file)
    assert not (renter.home / "ssh").exists()
    assert f'IdentityFile="{key}"' in renter("ssh", order, "--json").data["command"]
    assert renter("ssh", order, "--", "echo mine").out == "mine\n"
    renter("cancel", order)


def test_an_order_with_a_password(renter: Renter, tmp_path: Path) -> None:
    """OpenSSH asks for the password (here SSH_ASKPASS answers); clore stores it nowhere."""
    renter.secrets = ["Passw0rdSecret"]
    askpass = tmp_path / "askpass"
    askpass.write_text("#!/bin/sh\necho Passw0rdSecret\n")
    askpass.chmod(0o700)
    order = renter.rent("--ssh-password", "Passw0rdSecret")
    asked = {"SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}
    assert renter("ssh", order, "--", "echo with", **asked).out == "with\n"
    assert not any(
        b"Passw0rdSecret" in p.read_bytes() for p in renter.home.rglob("*") if p.is_file()
    )
    renter("cancel", order)


def test_a_reused_order_id_with_another_host_key(renter: Renter) -> None:
    """A changed host key is no error if the id now belongs to another order.

    This holds for an order that clore rented and for one found in the list.
    """
    options: dict[str, Any] = {
        "inventory": FLEET, "limits": False, "visibility_lag_s": 0.1, "boot_s": 0.1
    }  # fmt: skip
    with Sandbox(**options) as first:
        port = first.port
        user = renter.with_(CLORE_BASE_URL=first.base_url, CLORE_API_KEY=first.api_key)
        user.key = first.api_key
        order = user.rent()
        user("ssh", order, "--", "true")
        old = (user.home / "ssh" / "id_ed25519.pub").read_text()
    for by_clore in (True, False):
        with Sandbox(port=port, **options) as next_one:
            user.env["CLORE_API_KEY"] = user.key = next_one.api_key
            if by_clore:
                assert user.rent() == order
            else:
                _wait_a_second(user, order)
                import httpx

                body = {
                    "renting_server": user.server(), "image": "i", "type": "on-demand",
                    "currency": "USD-Blockchain", "ports": {"22": "tcp"}, "ssh_key": old,
                }  # fmt: skip
                headers = {"auth": user.key}
                answer = httpx.post(f"{next_one.base_url}/create_order", json=body, headers=headers)
                assert answer.json() == {"code": 0}
            until(
                lambda: any(o["status"] == "running" for o in user("orders", "--json").data),
                "the order",
            )
            assert user("ssh", order, "--", "echo new").out == "new\n"


def _wait_a_second(user: Renter, order: int) -> None:
    """A later order is known by its start, which the service gives in whole seconds."""
    import time

    (kept,) = user.home.glob(f"orders/*/{order}/created")
    until(lambda: time.time() > float(kept.read_text()) + 1, "the next second")


def test_a_public_key_given_as_text_finds_its_private_key(renter: Renter, tmp_path: Path) -> None:
    """`--ssh-key TEXT`: the matching key in ``~/.ssh`` opens the order, and no other."""
    folder = tmp_path / ".ssh"
    folder.mkdir(mode=0o700)
    for name in ("id_ed25519", "work"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True
        )
    order = renter.rent("--ssh-key", (folder / "work.pub").read_text())
    how = renter("ssh", order, "--json").data["command"]
    assert f'IdentityFile="{folder / "work"}"' in how
    assert not [word for word in how if "id_ed25519" in word]
    assert renter("ssh", order, "--", "echo in").out == "in\n"


_RELAY = """
import socket, sys, threading
open({said!r}, "a").write("gone through\\n")
there = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
def back():
    while piece := there.recv(65536):
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
threading.Thread(target=back, daemon=True).start()
while piece := sys.stdin.buffer.read1(65536):
    there.sendall(piece)
"""


def test_ssh_goes_through_the_jump_host_of_the_settings(renter: Renter, tmp_path: Path) -> None:
    """`ssh_options` apply to every connection; here a program forwards the connection."""
    order = renter.rent()
    said = tmp_path / "jumped"
    jump = tmp_path / "jump"
    jump.write_text(f"#!{sys.executable}\n{_RELAY.format(said=str(said))}")
    jump.chmod(0o700)
    renter("config", "set", "ssh_options", f"-o 'ProxyCommand={jump} %h %p'")
    assert renter("ssh", order, "--", "echo in").out == "in\n"
    folder = tmp_path / "w"
    folder.mkdir()
    renter("run", "--order", order, "--folder", folder, "--", "true")
    assert len(said.read_text().splitlines()) == 2  # One each: a run keeps its connection.


def test_a_machine_reachable_only_through_the_jump_host(renter: Renter, tmp_path: Path) -> None:
    """Only ssh can tell if it answers: no host is blamed, and no second order is made."""
    jump = tmp_path / "jump"
    jump.write_text(f"#!{sys.executable}\n{_RELAY.format(said=str(tmp_path / 'jumped'))}")
    jump.chmod(0o700)
    with Sandbox(inventory=FLEET, public_host="gpu.invalid", limits=False) as market:
        where = {"CLORE_BASE_URL": market.base_url, "CLORE_API_KEY": market.api_key}
        there = renter.with_(**where)
        there("config", "set", "ssh_options", f"-o 'ProxyCommand={jump} %h %p'")
        order = there("rent", "--gpu", "RTX", "--yes", "--verify", "ssh").out.strip()
        assert there("ssh", order, "--", "echo in").out == "in\n"
        folder = tmp_path / "w"
        folder.mkdir()
        there("run", "--order", order, "--folder", folder, "--", "true")
        assert len(there("orders", "--completed", "--json").data) == 1
        there("cancel", order)
