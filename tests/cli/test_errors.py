"""Bad input: one sentence with the next step, the right exit code, no order made or lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from .driver import DEPLOY, Clore, Renter

if TYPE_CHECKING:
    from pathlib import Path

USD = (*DEPLOY, "USD-Blockchain")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--port", "22"), "write PORT:tcp or PORT:http"),
        (("--port", "22:udp"), "write PORT:tcp or PORT:http"),
        (("--port", "99999:tcp"), "from 1 to 65535"),
        (("--port", "80:http", "--port", "81:http"), "only one http port"),
        (("--env", "FOO"), "write KEY=VALUE"),
        (("--env", "A=b&c"), "encode the value"),
        (("--ssh-key", "/home/me/.ssh/id_ed25519.pub"), "--ssh-key-file FILE"),
        (("--ssh-key", "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0"), "is a private key"),
        (("--ssh-key", "ssh-ed25519 AAAA", "--ssh-key-file", "x"), "Give only one of"),
        (("--ssh-key-file", "/nowhere/key"), "no public key at /nowhere/key.pub"),
        (("--ssh-password", "x" * 33), "32 at most"),
        (("--spot-price", "3"), "--type spot"),
        (("--type", "spot"), "--spot-price"),
        (("--wait", "--port", "8888:http"), "add --port 22:tcp"),
    ],
)
def test_invalid_values_are_refused_before_any_request(
    new_user: Clore, options: tuple[str, ...], said: str
) -> None:
    """A value the service would refuse is refused here with exit 2, by the name of its option."""
    result = new_user("deploy", 7, *USD, *options, "--json", fails=2)
    assert result.out == ""
    assert result.error["code"] in ("usage", "invalid_input")
    assert said in result.error["message"]
    assert "c2VjcmV0" not in result.err


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (("search", "--gpu", "Voodoo 5"), 6, "nothing_matched"),
        (("search", "--max-price", "5x"), 2, "usage"),
        (("search", "--limit", "0"), 2, "usage"),
        (("deploy", "1", *USD), 4, "not_found"),
        (("deploy", "one", *USD), 2, "usage"),
        (("ssh", "1"), 4, "not_found"),
        (("cancel", "1"), 4, "not_found"),
        (("spot", "1"), 4, "not_found"),
        (("spot-price", "1", "2"), 4, "not_found"),
        (("spot-price", "1", "0"), 2, "usage"),
        (("server-config", "nameless"), 4, "not_found"),
    ],
)
def test_exit_code_and_stable_code(
    renter: Renter, words: tuple[str, ...], status: int, code: str
) -> None:
    """Each kind of failure has one exit code and one `code`; --json prints both on stderr only."""
    result = renter(*words, "--json", fails=status)
    assert result.out == ""
    assert (result.error["code"], result.error["exit"]) == (code, status)
    assert renter.orders() == []


def test_missing_and_wrong_keys(renter: Renter) -> None:
    """Exit 3: a missing key gets the next step; a wrong one, its source and last characters."""
    none = renter.with_(CLORE_API_KEY="")
    said = none("wallets", fails=3).err
    assert "clore config set api_key" in said
    assert "clore demo" in said
    none("deploy", renter.server(), *USD, fails=3)
    assert none("search", "--limit", 1).out  # The marketplace itself needs no key.

    wrong = renter.with_(CLORE_API_KEY="not-the-right-key-7890")
    wrong.secrets.append("not-the-right-key-7890")
    error = wrong("wallets", "--json", fails=3).error
    assert error["code"] == "auth"
    assert "CLORE_API_KEY" in error["message"]
    assert "…7890" in error["message"]
    short = renter.with_(CLORE_API_KEY="key4")  # Four characters would be the whole key.
    assert "key4" not in short("wallets", fails=3).err


def test_a_server_taken_between_list_and_order(renter: Renter) -> None:
    """The race for the server is lost: exit 1 with that reason, and nothing is rented."""
    server = renter.server()
    renter.market.set_rented(server, rented=True)
    said = renter("deploy", server, *USD, fails=1).err
    assert f"Server {server} is already rented" in said
    assert "clore search" in said
    renter.market.set_rented(server, rented=False)

    renter.fault("wallets", "late", delay_s=1.0)  # read between list and order
    process = renter.start("deploy", server, *USD, "--json")
    assert process.stderr is not None
    while not renter.requests("marketplace")[1:]:
        assert process.poll() is None
    renter.market.set_rented(server, rented=True)
    _, err = process.communicate(timeout=30)
    error = json.loads(err.splitlines()[-1])
    assert process.returncode == 1
    assert (error["code"], error["error"]) == ("refused", "server-already-rented")
    assert renter.orders() == []


def test_low_balance_and_refused_coin(renter: Renter) -> None:
    """Exit 7 if the wallet is too low; a refused coin is listed with those that are taken."""
    server = renter.server()
    poor = renter.market.create_account({"bitcoin": 0})
    error = renter("deploy", server, *USD, "--json", fails=7, CLORE_API_KEY=poor).error
    assert (error["code"], error["error"]) == ("balance", "not_enough_balance")

    said = renter("deploy", server, *DEPLOY, "dogecoin", fails=1).err
    assert "can't be paid in 'dogecoin'" in said
    assert "USD-Blockchain" in said
    assert renter.orders() == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("html_502", "not JSON"),
        ("cdn_403", "error code: 1010"),
        ("missing_fields", "no list 'wallets'"),
    ],
)
def test_a_response_that_is_not_the_services(renter: Renter, fault: str, said: str) -> None:
    """A CDN page or a cut response is exit 1 and one line with the next step."""
    renter.fault("wallets", fault, times=None)
    result = renter("wallets", fails=1, timeout=30)
    assert result.out == ""
    assert said in result.err
    assert "Try again in a minute" in result.err
    assert len(result.err.splitlines()) == 1


def test_rate_limited_after_all_retries(renter: Renter) -> None:
    """If the last retry still gets code 5, the exit code is 5."""
    renter.fault("wallets", "rate_limited", times=None)
    assert renter("wallets", "--json", fails=5, timeout=30).error["code"] == "rate_limited"
    assert len(renter.requests("wallets")) > 1


def test_a_long_retry_after_ends_at_once(renter: Renter) -> None:
    """If the wait would pass the deadline, exit 5 at once, with the time to try again."""
    renter.fault("wallets", "retry_after", delay_s=7200)
    error = renter("wallets", "--json", fails=5, timeout=30).error
    assert error["code"] == "rate_limited"
    assert error["message"].endswith(" UTC; try again then.")
    assert len(renter.requests("wallets")) == 1


def test_a_refused_connection(new_user: Clore) -> None:
    """An address without a listener is exit 1, and the message has the address."""
    result = new_user("search", "--json", fails=1, timeout=30)
    assert result.error["code"] == "network"
    assert "http://127.0.0.1:9/v1" in result.error["message"]


@pytest.mark.parametrize("fault", ["act_then_cut", "act_then_500"])
def test_an_order_whose_response_was_lost_is_found(renter: Renter, fault: str) -> None:
    """The order was made, its response lost: its id is printed, and no second one is made."""
    renter.fault("create_order", fault)
    result = renter("deploy", renter.server(), *USD)
    assert renter.orders() == [int(result.out)]
    assert len(renter.requests("create_order")) == 1


def test_an_uncertain_order_is_exit_9(renter: Renter) -> None:
    """After a cut, the order is looked for during 30 s: exit 9, and it is never resent."""
    renter.fault("create_order", "cut_before")
    server = renter.server()
    result = renter("deploy", server, *USD, "--json", fails=9)
    assert result.out == ""
    assert (result.error["code"], result.error["server_id"]) == ("order_uncertain", server)
    assert "clore orders" in result.error["message"]
    assert renter.orders() == []
    assert len(renter.requests("create_order")) == 1


def test_waiting_for_ssh_times_out(renter: Renter) -> None:
    """Exit 8 after --wait-timeout; stdout has the order's id, since the order is billed."""
    renter.fault("create_order", "never_boots")
    words = ("deploy", renter.server(), *USD, "--wait", "--wait-timeout", "1")
    result = renter(*words, fails=8)
    order = int(result.out)
    assert renter.orders() == [order]
    assert f"clore cancel {order}" in result.err
    error = renter("ssh", order, "--json", fails=8).error
    assert (error["code"], error["order_id"]) == ("timed_out", order)
    renter("cancel", order)


def test_an_order_without_port_22(renter: Renter) -> None:
    """SSH is impossible, and `ssh` explains how to get it next time (exit 2)."""
    order = int(renter("deploy", renter.server(), *USD, "--port", "8888:http").out)
    done = {o["id"]: o for o in renter("orders", "--json").data}[order]
    while done["status"] != "running":
        done = renter("orders", "--json").data[0]
    assert "--port 22:tcp" in renter("ssh", order, fails=2).err


def test_ended_orders(renter: Renter) -> None:
    """Cancelling twice is harmless and reported; an ended order has no shell. Both exit 4."""
    order = int(renter("deploy", renter.server(), *USD).out)
    renter("cancel", order)
    assert renter("cancel", order, "--json", fails=4).error["code"] == "order_ended"
    assert "clore orders" in renter("ssh", order, fails=4).err


@pytest.mark.parametrize(
    "content", ["{bad", "[1]", '{"contexts": 5, "api_key": 7}', '{"base_url": "nowhere"}']
)
def test_an_unreadable_config_file(new_user: Clore, content: str) -> None:
    """The message has its path and the next step; no command overwrites it or crashes."""
    user = new_user.with_(CLORE_BASE_URL="")
    user.home.mkdir()
    file = user.home / "config.json"
    file.write_text(content)
    if content in ("{bad", "[1]"):
        for words in (("wallets",), ("config", "show"), ("config", "set", "api_key", "abcdef")):
            error = user(*words, "--json", fails=2).error
            assert error["code"] == "config"
            assert str(file) in error["message"]
    else:
        user("config", "show")
        if "nowhere" in content:
            assert "not a base URL" in user("wallets", fails=2).err
    assert file.read_text() == content


def test_invalid_settings(new_user: Clore) -> None:
    """A bad address, pace or context is exit 2, and the message names it."""
    assert "not a base URL" in new_user("wallets", fails=2, CLORE_BASE_URL="nowhere").err
    pace = new_user("wallets", fails=2, CLORE_REQUESTS_PER_SECOND="fast")
    assert "requests_per_second" in pace.err
    assert "no context 'prod'" in new_user("--context", "prod", "wallets", fails=2).err


def test_a_home_that_cannot_be_written(renter: Renter, tmp_path: Path) -> None:
    """Without a ledger nothing is rented; running orders can still be listed and cancelled."""
    running = renter.rent()
    (tmp_path / "file").write_text("")
    lost = renter.with_(CLORE_HOME=str(tmp_path / "file" / "home"))
    for words in (("deploy", "7", *USD), ("config", "set", "api_key", "abc"), ("sandbox", "up")):
        assert str(tmp_path / "file") in lost(*words, fails=2).err
    assert lost("sandbox", "status", fails=6)
    words = ("deploy", renter.server(), *USD, "--ssh-password", "Secret123")
    assert str(tmp_path / "file") in lost(*words, fails=2).err
    assert renter.orders() == [running]
    seen = lost("orders")
    assert str(running) in seen.out
    assert "CLORE_HOME" in seen.err
    lost("cancel", running)
    assert lost("orders", "--json").data == []


def test_missing_ssh_programs(renter: Renter, tmp_path: Path) -> None:
    """Without ssh-keygen or ssh, the package is named before anything is rented (exit 2)."""
    bare = renter.with_(PATH=str(tmp_path))
    assert "openssh-client" in bare("deploy", renter.server(), *USD, fails=2).err
    assert "openssh-client" in bare("ssh", 1, fails=2).err
    assert renter.orders() == []


def test_the_sandbox_extra_is_not_installed(new_user: Clore, tmp_path: Path) -> None:
    """`clore sandbox` and `clore demo` name the package (exit 2 and 1), detached or not."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['asyncssh'] = None")
    bare = new_user.with_(PYTHONPATH=str(tmp_path))
    for words in (("up",), ("up", "--detach")):
        assert "pip install '.[sandbox]'" in bare("sandbox", *words, fails=2).err
    assert "pip install '.[sandbox]'" in bare("demo", fails=1).err


def test_a_bug_is_one_sentence(new_user: Clore, tmp_path: Path) -> None:
    """An unexpected error is one line; CLORE_DEBUG=1 shows the traceback."""
    (tmp_path / "httpx.py").write_text("raise ZeroDivisionError('oh')")
    broken = new_user.with_(PYTHONPATH=str(tmp_path))
    error = broken("wallets", "--json", fails=1).error
    assert error["code"] == "internal"
    assert "ZeroDivisionError: oh" in error["message"]
