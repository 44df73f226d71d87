"""Closed pipes, full disks, no terminal, no colour: output goes where it can."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.cli.driver import CLORE, DEPLOY, Renter, shared_forks

USD = (*DEPLOY, "USD-Blockchain")


def shell(renter: Renter, line: str, *, alone: bool = False) -> subprocess.CompletedProcess[str]:
    """A bash command line with the command as $CLORE: a fork, or a process of its own."""
    clore = CLORE if alone else [*shared_forks().program, "clore"]
    done = subprocess.run(
        ["bash", "-c", line],
        env={**renter.env, "CLORE": " ".join(clore)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    renter.check(done.stdout + done.stderr)
    return done


def test_a_closed_pipe_is_no_error(renter: Renter) -> None:
    """`clore search | head -1` is no error."""
    done = shell(
        renter, "$CLORE search --all --limit 9999 --json | head -c 1; echo ${PIPESTATUS[@]}"
    )
    assert done.stdout == "[0 0\n"
    assert "Error" not in done.stderr


@pytest.mark.parametrize(
    "closed",
    [
        *("2>&-", ">&- 2>&- <&-"),
        *(pytest.param(each, marks=pytest.mark.exhaustive) for each in (">&-", "<&-")),
    ],
)
def test_closed_streams(renter: Renter, closed: str) -> None:
    """A closed stream behaves like /dev/null, and no connection gets its number."""
    done = shell(renter, f"$CLORE wallets {closed}", alone=True)
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout == "" or done.stdout.startswith("Coin\t")


def test_stderr_has_the_order_id_if_stdout_fails(renter: Renter) -> None:
    """Whatever happens to stdout, the id of a new order is on stderr."""
    for where, status in ((">&-", 0), (">/dev/full", 1)):
        if not Path("/dev/full").exists() and "full" in where:
            continue
        line = f"$CLORE deploy {renter.server()} {' '.join(USD)} {where}"
        done = shell(renter, line, alone=where == ">&-")
        assert done.returncode == status
        assert f"Rented: order {renter.orders()[-1]} " in done.stderr
    assert len(renter.orders()) <= 2
    for order in renter.orders():
        renter("cancel", order)


def test_command_substitution_holds_the_id(renter: Renter) -> None:
    """``id=$(clore deploy …)`` is exactly the id, also if --wait fails afterwards."""
    renter.fault("create_order", "never_boots")
    line = (
        f"id=$($CLORE deploy {renter.server()} {' '.join(USD)} --wait --wait-timeout 1 2>/dev/null)"
    )
    done = shell(renter, line + '; echo "[$id] $?"')
    assert done.stdout == f"[{renter.orders()[0]}] 8\n"


def test_no_colour_without_a_terminal(renter: Renter) -> None:
    """No escape sequence is ever written to a pipe."""
    for words in (("wallets",), ("search", "--limit", 2), ("--help",)):
        result = renter(*words)
        assert "\x1b" not in result.out + result.err
    assert "\x1b" not in renter("ssh", 1, fails=4).err
