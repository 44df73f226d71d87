"""`order.ssh_command` logs in as it stands: no key is missing in it, no host key is asked for."""

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
    """Of a user who keeps the private one under a name of their own."""
    folder = tmp_path / ".ssh"
    folder.mkdir(mode=0o700)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "my gpu %h"])
    monkeypatch.setenv("HOME", str(tmp_path))
    return (folder / "my gpu %h.pub").read_text().strip()


@pytest.mark.parametrize("state", [True, None])
@pytest.mark.parametrize("login", ["key", "password", "both"])
def test_it_logs_in(
    login: str,
    state: bool | None,
    api_of: Callable[..., Api],
    own_market: Callable[..., Any],
    server_of: Callable[..., int],
    public_key: str,
    tmp_path: Path,
    home: Path,
) -> None:
    """With a state folder or without; of what `create_order`, `my_orders` and the wait return.

    A password is typed; a key opens it without.
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


def test_before_there_is_an_address(api: Api, server: int) -> None:
    """None, of an order that is made and of one that is listed."""
    order = api.rent(server, ports={"22": "tcp"})
    assert order.ssh_command is None
    api.cancel_order(order.id)
