"""Each command of 0.1.1's `clore`, against the dialect of 002 and 004."""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING, Any

import own_ssh
import pytest

from .conftest import environment

if TYPE_CHECKING:
    from clore_sandbox import Sandbox

DEPLOY = ("--image", "cloreai/ubuntu22.04-cuda12", "--currency", "bitcoin")
PASSWORD = "Secret123"


def ok(api: Any, *words: object) -> str:
    """The output of a command, which must succeed."""
    done = api.command(*words)
    assert (done.code, done.raised) == (0, "NoneType"), done
    shown: str = done.out
    return shown


def a_server(api: Any) -> int:
    """A free 4090 that takes bitcoin."""
    servers = api.marketplace(gpu="RTX 4090", max_price_usd=30)
    number: int = next(s["id"] for s in servers if "bitcoin" in s["allowed_coins"])
    return number


def test_a_renters_commands(released_of, market_of):
    """From `search` to `cancel`, each shows the state of the market."""
    market = market_of()
    api = released_of(market)
    assert "CLORE-Blockchain" in ok(api, "wallets")
    found = ok(api, "search", "--gpu", "RTX 4090", "--min-gpu", 1, "--min-ram", 4, "--sort", "ram")
    assert "RTX 4090" in found
    server = a_server(api)
    deploy = (*DEPLOY, "--ssh-password", PASSWORD, "--port", "22:tcp", "--env", "A=b")
    assert "Order created!" in ok(api, "deploy", server, "--type", "on-demand", *deploy)
    (order,) = api.my_orders()
    assert " running " in ok(api, "orders")
    cancel = ok(api, "cancel", order["id"], "--issue", "done")
    assert f"Order {order['id']} cancelled" in cancel
    assert "Total: 0 orders" in ok(api, "orders")
    assert " expired " in ok(api, "orders", "--completed")

    least = api.spot_marketplace(server_id=server)["server"]["min_pricing"]["bitcoin"]
    ok(api, "deploy", server, "--type", "spot", "--spot-price", f"{least:.8f}", *DEPLOY)
    (bid,) = api.my_orders()
    market_shown = ok(api, "spot", server)
    assert str(bid["id"]) in market_shown
    assert "Server Online: True" in market_shown
    assert "updated" in ok(api, "spot-price", bid["id"], f"{least * 2:.8f}")


def test_a_hosts_commands(released_of, market_of):
    """`servers` and `server-config` for a connected server and for one that never was."""
    market = market_of(host_servers=1)
    market.add_server(name="new", connected=False)
    api = released_of(market)
    servers = ok(api, "servers")
    assert "Online" in servers
    assert "Disconnected" in servers
    config = ok(api, "server-config", "MyGPU")
    assert "RTX 4090" in config
    assert "Visibility: public" in config
    ok(api, "server-config", "new")


def test_refused_commands_exit_with_1_and_the_reason(released_of, market_of):
    """There is no traceback, as 0.1.1 finds a `message`."""
    api = released_of(market_of())
    words = ("--type", "on-demand", *DEPLOY)
    for command, reason in (
        (("deploy", 987_654, *words), "server-dont-exist"),
        (("cancel", 1), "you_dont_own_this_order"),
        (("spot-price", 1, 0.1), "order_dont_exist"),
        (("server-config", "nothing"), "server_dont_exist"),
        (("ssh", 1), "Order 1 not found"),
    ):
        done = api.command(*command)
        assert (done.code, done.raised) == (1, "NoneType")
        assert reason in done.out


def test_its_configuration(released_of, market_of):
    """It reads the settings that it wrote to `~/.clore/config.json`."""
    api = released_of(market_of())
    assert "No configuration found" in ok(api, "config", "show")
    assert "Set colour = blue" in ok(api, "config", "set", "colour", "blue")
    assert "colour = blue" in ok(api, "config", "get", "colour")
    assert '"colour": "blue"' in ok(api, "config", "show")


@pytest.mark.parametrize("way_in", ["password", pytest.param("key", marks=pytest.mark.exhaustive)])
def test_ssh(way_in, tmp_path, python, released_of, market_of):
    """`clore ssh ID` finds host and port in the row and logs in."""
    market: Sandbox = market_of(provision=True)
    api = released_of(market)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"])
    key = (tmp_path / "key.pub").read_text().strip()
    options = (
        *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
        *("-o", "IdentityAgent=none", "-o", "IdentitiesOnly=yes", "-i", str(tmp_path / "key")),
    )
    login = ("--ssh-password", PASSWORD) if way_in == "password" else ("--ssh-key", key)
    words = ("--type", "on-demand", *DEPLOY, *login, "--port", "22:tcp")
    ok(api, "deploy", a_server(api), *words)
    deadline = time.monotonic() + 60
    while (order := api.my_orders()[0])["status"] != "running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    start = f"from clore_ai import CloreAI, cli; CloreAI.BASE_URL = {market.base_url!r}; cli.main()"
    done = subprocess.run(
        [str(python), "-c", start, "ssh", str(order["id"])],
        env={
            **environment(tmp_path, market.api_key),
            **own_ssh.environment(tmp_path / "bin", PASSWORD, *options),
        },
        input="echo it-is-$CLORE_NOTHING-open\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "it-is--open" in done.stdout, done
