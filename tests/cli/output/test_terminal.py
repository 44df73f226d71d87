"""On a real terminal: tables that fit, questions whose default is No, shells, Ctrl-C."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

import pytest
from tests.cli.driver import DEPLOY, Clore, Renter, Terminal
from waiting import until

if TYPE_CHECKING:
    Open = Callable[..., Terminal]

USD = " ".join((*DEPLOY, "USD-Blockchain"))


@pytest.mark.parametrize("width", [80, 140])
def test_tables_fit_the_terminal(renter: Renter, terminal: Open, width: int) -> None:
    """Each row is one line; both prices always show, and columns that do not fit are named."""
    order = renter.rent("--lease", "1d", "--no-keeper")
    screen = terminal(renter, width)
    text = screen.run("clore search --limit 12").splitlines()
    header = text[0].split()
    assert header[:2] == ["ID", "GPU"]
    assert {"$/h", "$/day"} <= set(header)
    assert all(line.split()[0].isdigit() for line in text[1:13])
    assert any("Left out for lack of space" in line for line in text) == (width == 80)

    text = screen.run("clore orders").splitlines()
    assert {"ID", "GPU", "Status", "$/h", "$/day", "Spent"} <= set(text[0].split())
    assert text[1].split()[0] == str(order)
    assert len(text) <= 6
    deposits = [w["deposit"] for w in renter("wallets", "--json").data if w["deposit"]]
    text = screen.run("clore wallets")
    assert all(deposit in text for deposit in deposits)  # A truncated address cannot be used.
    renter("cancel", order)


def test_deploy_asks_with_no_as_default(renter: Renter, terminal: Open) -> None:
    """Return, n, Ctrl-D and Ctrl-C rent nothing; y rents, and stdout has only the id."""
    server = renter.server()
    screen = terminal(renter)
    for key, code, said in (
        ("Enter", 1, "Nothing was rented."),
        ("C-d", 130, "nothing was rented."),
        ("C-c", 130, "nothing was rented."),
    ):
        screen.start(f"clore deploy {server} {USD}")
        text = screen.wait("Rent it? [y/N]:")
        assert "/h = $" in text
        assert "/day" in text
        assert "balance" in text
        screen.keys(key)
        text = screen.wait(f"end={code}")
        assert said in text
        assert "Error" not in text
    assert renter.requests("create_order") == []

    screen.start(f"id=$(clore deploy {server} {USD}); echo got=$id")
    screen.wait("Rent it?")
    screen.type("y")
    text = screen.wait("end=0")
    assert f"got={renter.orders()[0]}\n" in text
    renter("cancel", renter.orders()[0])


def test_yes_skips_the_question(renter: Renter, terminal: Open) -> None:
    """--yes goes ahead on a terminal too."""
    text = terminal(renter).run(f"clore deploy {renter.server()} {USD} --yes")
    assert "Rent it?" not in text
    assert "end=0" in text
    renter("cancel", renter.orders()[0])


def test_ctrl_c_after_yes(renter: Renter, terminal: Open) -> None:
    """During the order request: check your orders. During the boot: how to cancel. Exit 130."""
    screen = terminal(renter)
    renter.fault("create_order", "late", delay_s=20)
    screen.start(f"clore deploy {renter.server()} {USD} -y")
    screen.wait("Renting…")
    until(lambda: renter("orders", "--json").data, "the order")
    screen.keys("C-c")
    text = screen.wait("end=130")
    assert "Checknowwith:cloreorders" in "".join(text.split())  # wherever the line wraps
    (row,) = renter("orders", "--json").data
    renter("cancel", row["id"])

    renter.fault("create_order", "never_boots")
    screen.start(f"clore deploy {renter.server()} {USD} -y --wait")
    screen.wait("Waiting for SSH")
    screen.keys("C-c")
    text = screen.wait("end=130")
    order = renter("orders", "--json").data[0]["id"]
    assert f"clorecancel{order}" in "".join(text.split())
    renter("cancel", order)


def test_an_interactive_shell(renter: Renter, terminal: Open) -> None:
    """It has the terminal's size, gets Ctrl-C, and its exit code is passed on."""
    order = renter.rent("--lease", "1d", "--no-keeper")
    screen = terminal(renter, 90, alone=True)
    screen.start(f"clore ssh {order}")
    until(lambda: screen.screen, "a prompt")
    screen.type("echo size=$(tput cols)x; tty >/dev/null && echo is-a-tty")
    text = screen.wait("is-a-tty\n")
    assert "size=90x" in text
    screen.type("sleep 60; echo slept")
    screen.keys("C-c")
    screen.type("echo still-$((1+1))")
    screen.wait("still-2")
    screen.type("exit 5")
    screen.wait("end=5")
    renter("cancel", order)


def test_a_password_prompt_does_not_echo(renter: Renter, terminal: Open) -> None:
    """OpenSSH asks for an order's password on the terminal, and does not echo it."""
    renter.secrets = ["Passw0rdSecret"]
    order = renter.rent("--ssh-password", "Passw0rdSecret")
    screen = terminal(renter, alone=True)  # ssh opens the controlling terminal
    screen.start(f"clore ssh {order} -- echo inside")
    screen.wait("assword:")
    screen.type("Passw0rdSecret")
    text = screen.wait("end=0")
    assert "inside" in text
    renter("cancel", order)


def test_a_key_prompt_does_not_echo(new_user: Clore, terminal: Open) -> None:
    """`clore config set api_key` asks for the key, and does not echo it."""
    new_user.secrets = ["typed-secret-key-1234"]
    screen = terminal(new_user)
    screen.start("clore config set api_key")
    screen.wait("api_key:")
    screen.type("typed-secret-key-1234")
    screen.wait("end=0")
    assert "…1234" in screen.run("clore config get api_key")

    screen.start("clore config set api_key")
    screen.wait("api_key:")
    screen.keys("C-c")
    screen.wait("end=130")
    assert "…1234" in new_user("config", "get", "api_key").out


def test_colours_need_a_terminal(renter: Renter, terminal: Open) -> None:
    """Bold and colour appear on a terminal only, and not with NO_COLOR or --no-color."""
    screen = terminal(renter)
    shown = {}
    for name, line in (
        ("plain", "clore deploy 1 " + USD),
        ("NO_COLOR", "NO_COLOR=1 clore deploy 1 " + USD),
        ("--no-color", "clore --no-color deploy 1 " + USD),
    ):
        screen.run(line)
        shown[name] = "\x1b[3" in screen._tmux("capture-pane", "-p", "-e")
    assert shown == {"plain": True, "NO_COLOR": False, "--no-color": False}
