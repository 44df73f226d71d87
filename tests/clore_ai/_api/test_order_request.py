"""Orders that the service would refuse are refused here, with the alternative (service.md, 3)."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from by_hand import Hand

from clore_ai._api import endpoints
from clore_ai._api.order_request import OrderRequest
from clore_ai.exceptions import InvalidInputError
from clore_ai.rental.orders.cancel import cancel
from clore_ai.rental.session import Session

GOOD = {"server_id": 6, "image": "i", "type": "on-demand", "currency": "bitcoin"}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk7bVqz me@host"


def body(**given: Any) -> Any:
    """The body of its request."""
    return endpoints.create_order(OrderRequest(**given)).body


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"ssh_password": "a" * 33}, "33 characters long; 32 at most"),
        ({"ssh_password": ""}, "empty"),
        ({"ssh_key": KEY + "x" * 3072}, "3072 at most"),
        ({"ssh_key": "-----BEGIN OPENSSH PRIVATE KEY-----\nx"}, r"private key.*\.pub"),
        ({"ssh_key": "~/.ssh/id_ed25519.pub"}, "read_text"),
        ({"ssh_key": "/home/me/my keys/id.pub"}, "read_text"),
        ({"ssh_key": "id_ed25519.pub"}, "read_text"),
        ({"ssh_key": "two words"}, "ssh-ed25519 AAAA"),
        ({"ssh_key": KEY + "\n" + KEY}, "one public key"),
        ({"jupyter_token": "a" * 33}, "32 at most"),
        ({"ports": {"8888": "http", "6006": "http"}}, "only one http port.*8888, 6006"),
        ({"ports": {"22": "udp"}}, '"tcp" or "http"'),
        ({"ports": {"ssh": "tcp"}}, "1 to 65535"),
        ({"ports": {"0": "tcp"}}, "1 to 65535"),
        ({"ports": {"65536": "tcp"}}, "1 to 65535"),
        ({"ports": {"²": "tcp"}}, "1 to 65535"),
        ({"env": {"A": "x" * 1537}}, "env A is 1537 characters long; 1536"),
        ({"env": {"A" * 129: "x"}}, "128 at most"),
        ({"env": {f"A{n}": "x" * 1500 for n in range(9)}}, "under 12288"),
        ({"env": {"A": "b&c"}}, "'&'.*base64"),
        ({"env": {"": "x"}}, "not a valid name"),
        ({"env": {"A=B": "x"}}, "not a valid name"),
        ({"env": {"A": 1}}, "must be a string"),
        ({"type": "spot"}, "needs spot_price.*per day"),
        ({"type": "spot", "spot_price": 0}, "above 0"),
        ({"type": "spot", "spot_price": float("nan")}, "above 0"),
        ({"spot_price": 1}, "required_price"),
        ({"required_price": -1}, "above 0"),
        ({"required_price": float("inf")}, "above 0"),
        ({"type": "on_demand"}, '"on-demand" or "spot"'),
        ({"image": " "}, "image is empty"),
        ({"currency": ""}, "CLORE-Blockchain"),
    ],
)
def test_invalid_orders_are_refused_before_they_are_sent(given, says):
    """InvalidInputError has code 2, and its message says what to give instead."""
    with pytest.raises(InvalidInputError, match=says) as caught:
        OrderRequest(**{**GOOD, **given})
    assert caught.value.code == 2


def test_secrets_are_not_in_the_refusal():
    """Neither the password nor the text of the private key is."""
    for given in ({"ssh_password": "hunter2" * 5}, {"ssh_key": "BEGIN PRIVATE KEY hunter2"}):
        with pytest.raises(InvalidInputError) as caught:
            OrderRequest(**GOOD, **given)
        assert "hunter2" not in str(caught.value)


def test_unusual_values_are_left_to_the_service():
    """The service has accepted other characters in passwords; the image is not checked."""
    sent = body(
        **{**GOOD, "image": "no/such:image"},
        ssh_password="Your$ecurePass123!",
        ports={22: "tcp", "8888": "http"},
        env={"A": ""},
        jupyter_token="t" * 32,
        command="echo a & b",
        required_price=1e-8,
        autossh_entrypoint=True,
    )
    assert sent == {
        "currency": "bitcoin",
        "image": "no/such:image",
        "renting_server": 6,
        "type": "on-demand",
        "ports": {"22": "tcp", "8888": "http"},
        "env": {"A": "", "SSH_PASSWORD": "Your$ecurePass123!", "JUPYTER_TOKEN": "t" * 32},
        "ssh_password": "Your$ecurePass123!",
        "jupyter_token": "t" * 32,
        "command": "echo a & b",
        "required_price": 1e-8,
        "autossh_entrypoint": True,
    }


@pytest.mark.parametrize("auth", ["me:secret", {"user": "me", "pass": "secret"}])
def test_the_login_of_a_private_image_is_sent_unchanged(auth):
    """It is a string in the newest client, an object before; without one no field is sent."""
    sent = body(**GOOD, dockerhub_auth=auth, remember_password=False)
    assert (sent["dockerhub_auth"], sent["remember_password"]) == (auth, False)
    assert not {"dockerhub_auth", "remember_password"} & set(body(**GOOD))


def test_a_password_and_a_key_go_together():
    """Live deployments use both."""
    sent = body(**GOOD, ssh_password="a", ssh_key=KEY)
    assert (sent["ssh_password"], sent["ssh_key"]) == ("a", KEY)


def test_logins_are_in_the_environment_too_unless_the_user_set_them():
    """Official images read them there; values with '&', on which the service fails, are omitted."""
    logins = {"ssh_password": "p", "jupyter_token": "t"}
    assert body(**GOOD, **logins)["env"] == {"SSH_PASSWORD": "p", "JUPYTER_TOKEN": "t"}
    own = body(**GOOD, **logins, env={"JUPYTER_TOKEN": "", "A": "1"})
    assert own["env"] == {"SSH_PASSWORD": "p", "JUPYTER_TOKEN": "", "A": "1"}
    assert "env" not in body(**GOOD, ssh_password="a&b")


@pytest.mark.parametrize(
    "key", [KEY, KEY + "\n", "ssh-rsa AAAA", "sk-ssh-ed25519@openssh.com AAA="]
)
def test_public_keys_pass(key):
    """They may have a comment and a final newline, as files hold them."""
    assert body(**GOOD, ssh_key=key)["ssh_key"] == key.strip()


def test_omitted_options_are_not_sent():
    """The body holds no nulls."""
    assert body(**GOOD, ports={}, env={}) == {
        "currency": "bitcoin",
        "image": "i",
        "renting_server": 6,
        "type": "on-demand",
    }


def test_an_issue_that_is_too_long_is_refused():
    """It has at most 2,048 characters (service.md, 1); nothing is sent, so the order stays."""
    hand = Hand()
    with pytest.raises(InvalidInputError, match="2048 at most"):
        hand.play(cancel(Session(), 38, "x" * 2049))
    assert hand.sent == []


def test_a_changed_request_is_checked_again():
    """It is immutable otherwise, so every existing request is valid."""
    wanted = OrderRequest(**GOOD)
    with pytest.raises(FrozenInstanceError):
        wanted.required_price = -1.0  # type: ignore[misc]  # the point
    with pytest.raises(InvalidInputError, match="above 0"):
        replace(wanted, required_price=-1.0)
    assert body(**GOOD, required_price=2.0)["required_price"] == 2.0


def test_the_repr_of_a_request_holds_no_secret():
    """It may be printed with the locals of a traceback."""
    logins = {"ssh_password": "hunter2", "jupyter_token": "hunter2", "dockerhub_auth": "hunter2"}
    wanted = OrderRequest(**GOOD, **logins, env={"A": "hunter2"}, command="echo hunter2")
    assert "hunter2" not in repr(wanted) + repr(vars(wanted))
    assert "hunter2" not in repr(endpoints.create_order(wanted).body)


@pytest.mark.parametrize(
    ("prices", "agreed"),
    [({}, None), ({"required_price": 2.0}, 2.0), ({"type": "spot", "spot_price": 1.0}, 1.0)],
)
def test_the_agreed_price_is_the_bid_or_the_list_price(prices, agreed):
    assert OrderRequest(**{**GOOD, **prices}).price_per_day == agreed


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ({}, []),
        ({"order_id": 9}, [9]),
        ({"order": {"id": 9}}, [9]),
        ({"order": {"id": 9}, "order_id": 8}, [9, 8]),
        ({"order": {"id": "9"}}, []),
        ({"order": {"id": 9, "order_id": 8}}, []),
        ({"order": "9", "order_id": True}, []),
    ],
)
def test_the_orders_that_an_answer_names(answer, named):
    """They are named as in 002 and 004; an id must be an integer (service.md, 3)."""
    found = endpoints.create_order(OrderRequest(**GOOD)).parse({"code": 0, **answer})
    assert [order.id for order in found] == named
