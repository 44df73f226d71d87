"""`order.ssh_command` logs in unchanged: it names the key and never asks for a host key."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any, Callable

import own_ssh
import pytest
from waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from clients import Api

PASSWORD = "Secret123"


@pytest.fixture
def public_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The public key of a user whose private key has an unusual name."""
    folder = tmp_path / ".ssh"
    folder.mkdir(mode=0o700)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "my gpu %h"])
    monkeypatch.setenv("HOME", str(tmp_path))
    return (folder / "my gpu %h.pub").read_text().strip()


@pytest.mark.parametrize(
    ("login", "state"),
    [
        ("key", True),
        ("password", None),
        ("both", True),
        *(
            pytest.param(login, state, marks=pytest.mark.exhaustive)
            for login, state in (("key", None), ("password", True), ("both", None))
        ),
    ],
)
def test_the_command_logs_in(
    login: str,
    state: bool | None,
    api_of: Callable[..., Api],
    own_market: Callable[..., Any],
    server_of: Callable[..., int],
    public_key: str,
    tmp_path: Path,
    home: Path,
) -> None:
    """With or without a state folder; for orders from `create_order`, `my_orders` and the wait.

    The password is typed; a key needs none.
    """
    market = own_market()
    api = api_of(market, state=state)
    given: dict[str, Any] = {"ssh_password": PASSWORD, "ssh_key": public_key}
    wanted = {"key": {"ssh_password": None}, "password": {"ssh_key": None}, "both": {}}[login]
    order = api.rent(server_of(market), ports={"22": "tcp"}, **{**given, **wanted})
    ready = api.wait_for_ssh(order.id, timeout=60)
    (listed,) = api.my_orders()
    typed = own_ssh.environment(tmp_path / "bin", PASSWORD if login == "password" else "wrong")
    for each in (ready, listed):
        until(lambda each=each: own_ssh.logs_in(each.ssh_command, typed), "a login")
    api.cancel_order(order.id)


def test_without_an_address_there_is_no_command(api: Api, server: int) -> None:
    """It is None, for an order just made and for one that is listed."""
    order = api.rent(server, ports={"22": "tcp"})
    assert order.ssh_command is None
    api.cancel_order(order.id)
