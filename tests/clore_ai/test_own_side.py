"""A fault on the renter's side costs nothing or one order, and counts against no host."""

from __future__ import annotations

import errno
import json
import os
import socket
from typing import TYPE_CHECKING, Any, Callable

import broken
import pytest

from clore_ai._ssh import probe
from clore_ai._ssh.order_keys import own_key, own_key_file
from clore_ai.exceptions import CloreAPIError, ConfigError, InvalidInputError, TransportError
from clore_sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clients import Api

OPTIONS = {
    "an option that ssh does not know": ("-o Nonsense=yes", "does not accept its options"),
    "a value that ssh does not know": ("-o AddressFamily=none", "does not accept its options"),
    "a jump host without an address": ("-J me@nowhere.invalid", "can't be resolved"),
    "a dead jump host": ("-J me@127.0.0.1:9,other", "Connection refused"),
}


@pytest.fixture(scope="module")
def market() -> Iterator[Sandbox]:
    """Renting starts real SSH endpoints."""
    with Sandbox(visibility_lag_s=0.05, boot_s=0.1, limits=False) as sandbox:
        yield sandbox


@pytest.fixture
def api(api_of: Callable[..., Api], market: Sandbox, tmp_path: Path) -> Api:
    """A client with a state folder of its own that holds a key."""
    own_key(tmp_path)
    return api_of(market, state=tmp_path)


def refused(api: Api, **wish: Any) -> CloreAPIError:
    """The reason why nothing was rented."""
    with pytest.raises(CloreAPIError) as caught:
        api.renting("RTX 4090", **wish).start()
    assert api.entries("create_order") == []
    assert "othing was rented" in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", broken.KEYS)
def test_an_unusable_key_of_the_state_folder_rents_nothing(api, tmp_path, name):
    """The error is one sentence with the next step, with `verify="none"` too."""
    spoil, said = broken.KEYS[name]
    spoil(own_key_file(tmp_path))
    for verify in ("gpu", "none"):
        exc = refused(api, verify=verify)
        assert said in str(exc)
        assert isinstance(exc, ConfigError)


def test_the_user_s_own_key_pair_is_checked_too(api, tmp_path):
    private = broken.key(tmp_path / "mine")
    public = private.with_suffix(".pub").read_text()
    with api.renting("RTX 4090", verify="ssh", ssh_key=public, identity=private):
        pass
    private.chmod(0o640)
    exc = api.renting("RTX 4090", ssh_key=public, identity=private)
    with pytest.raises(ConfigError, match=r"mode 0640.*chmod 600"):
        exc.start()
    assert len(api.entries("create_order")) == 1


def test_a_key_with_a_passphrase_needs_an_agent(api, tmp_path, monkeypatch):
    """So does a public key without its private key."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    private = broken.key(tmp_path / "mine", "secret")
    public = private.with_suffix(".pub").read_text()
    assert f"ssh-add {private}" in str(refused(api, ssh_key=public, identity=private))
    assert "ssh-add" in str(refused(api, ssh_key=public))
    with api.renting("RTX 4090", verify="none", ssh_key=public):
        pass


@pytest.mark.parametrize("name", OPTIONS)
def test_broken_ssh_options_rent_nothing(api_of, market, tmp_path, monkeypatch, name):
    options, said = OPTIONS[name]
    # As an editor writes it: `clore config set` refuses them.
    (tmp_path / "config.json").write_text(json.dumps({"ssh_options": options}))
    monkeypatch.setenv("CLORE_HOME", str(tmp_path))
    assert said in str(refused(api_of(market, state=tmp_path)))


def test_without_ssh_nothing_is_rented(api, tmp_path, monkeypatch):
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    exc = refused(api)
    assert isinstance(exc, InvalidInputError)
    assert "Install openssh-client" in str(exc)


def no_host_is_blamed(api: Api, rental: Any) -> None:
    """Check that at most one order was made, and cancelled without a complaint about its host."""
    assert len(api.entries("create_order")) == 1
    assert [order.id for order in api.my_orders() if order.active] == []
    assert [entry.body.get("issue") for entry in api.entries("cancel_order")] == [None]
    assert api.session.hosts.sights() == []
    assert [e.what for e in rental.events] == ["trying", "created", "cancelling", "cancelled"]


@pytest.mark.parametrize("says", [broken.UNREACHABLE, broken.UNRESOLVED])
def test_a_lost_network_ends_the_search_after_one_order(api, tmp_path, monkeypatch, says):
    """The network fails once the order is made."""
    ssh = broken.Ssh(tmp_path / "programs", says)
    ssh.breaks()
    monkeypatch.setenv("PATH", f"{ssh.folder}{os.pathsep}{os.environ['PATH']}")
    rental = api.renting("RTX 4090")
    with pytest.raises(TransportError, match="the problem is on this side"):
        rental.start()
    no_host_is_blamed(api, rental)


def test_a_key_that_breaks_during_boot_ends_the_search_after_one_order(api, tmp_path):
    def spoil(event: Any) -> None:
        if event.what == "created":
            own_key_file(tmp_path).chmod(0o644)

    rental = api.renting("RTX 4090", on_event=spoil)
    with pytest.raises(ConfigError, match="chmod 600"):
        rental.start()
    no_host_is_blamed(api, rental)


@pytest.mark.parametrize("host", ["nowhere.invalid", "255.255.255.255"])
def test_no_route_to_the_machine_ends_it_after_one_order(api_of, tmp_path, own_market, host):
    """This machine cannot resolve the name, or has no route to the address."""
    api = api_of(own_market(public_host=host), state=tmp_path)
    rental = api.renting("RTX 4090")
    with pytest.raises(TransportError, match="can't be reached from this machine"):
        rental.start()
    no_host_is_blamed(api, rental)


def test_wait_for_ssh_without_a_route_fails_at_once(api_of, own_market):
    """The error says what to do with the order, which is not cancelled."""
    api = api_of(own_market(public_host="255.255.255.255"))
    server = next(s for s in api.marketplace("RTX 4090") if not s.gigaspot)
    order = api.rent(server.id, ports={"22": "tcp"})
    with pytest.raises(TransportError, match=f"clore cancel {order.id}"):
        api.wait_for_ssh(order.id, timeout=300)
    assert [o.id for o in api.my_orders() if o.active] == [order.id]


def test_the_error_of_a_connection_shows_whose_fault_it_is():
    """A connection that got an answer, or silence, failed on the other side."""
    for failure in (ConnectionRefusedError(), ConnectionResetError(), socket.timeout(), None):
        assert probe.trouble("127.0.0.1", 9, failure) == ""
    for number in (errno.EMFILE, errno.EADDRNOTAVAIL, errno.ENETDOWN):
        said = probe.trouble("127.0.0.1", 9, OSError(number, "in any language"))
        assert said == os.strerror(number)
    # This machine's own routes are checked: a distant router may send the same error.
    assert probe.trouble("127.0.0.1", 9, OSError(errno.ENETUNREACH, "")) == ""
    assert "can't be resolved" in probe.trouble("nowhere.invalid", 9, None, "127.0.0.1")
    assert probe.trouble("nowhere.invalid", 9, None, "localhost") == ""
    assert probe.trouble("127.0.0.1", 99_999) == ""
