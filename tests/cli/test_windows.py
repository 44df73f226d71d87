"""On Windows the calls of the service work; other commands say in one sentence what does."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import pytest
from forks import Forks

from clore_ai.cli import COMMANDS

if TYPE_CHECKING:
    import subprocess

    from .driver import Renter

WORKS = {
    "search", "deploy", "orders", "cancel", "wallets", "ledger", "orphans", "budget", "hosts",
    "spot-price", "servers", "server-config", "config",
}  # fmt: skip
PROGRAM = """
import asyncio
import clore_client
from clore_ai import AsyncCloreAI, CloreAI
from clore_ai.exceptions import ConfigError

with CloreAI() as client:
    wanted = dict(image="i", type="on-demand", currency="bitcoin", ssh_password="Secret123456")
    order = client.create_order(server_id={server}, ports={{"22": "tcp"}}, **wanted)
    client.wait_for_ssh(order.id)
    client.cancel_order(order.id)
    for refused in (lambda: client.rent("RTX").start(), lambda: client.run("true", order.id)):
        try:
            refused()
        except ConfigError as error:
            print(error)

async def count():
    async with AsyncCloreAI() as client:
        return len(await client.marketplace())

print(asyncio.run(count()) > 0, len(clore_client.CloreClient().list_servers()) > 0)
"""


COMMANDS_IN_TURN = """
import sys
from clore_ai.cli import main

for words in {lines}:
    sys.argv = ["clore", *words]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (words, end.code)
"""


@lru_cache(maxsize=1)
def _forks() -> Forks:
    return Forks("as_windows:main", ())


def on_windows(renter: Renter, *words: str) -> subprocess.CompletedProcess[str]:
    return _forks().run(["as_windows", *words], renter.env, "", 60)


def test_the_calls_of_the_sdk_work(renter: Renter) -> None:
    """Orders are made and cancelled; a call that needs SSH is refused before it rents."""
    done = on_windows(renter, "-c", PROGRAM.format(server=renter.server()))
    assert done.returncode == 0, done.stderr
    rented, run, count = done.stdout.splitlines()
    assert count == "True True"
    assert all("run it in WSL. What works on Windows itself" in line for line in (rented, run))
    assert len(renter.orders()) == 1


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - WORKS))
def test_an_unsupported_command_names_the_supported_ones(renter: Renter, command: str) -> None:
    """One sentence and exit 2, whatever its options."""
    done = on_windows(renter, "clore_ai", command, "--help")
    assert done.returncode == 2, done
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Error: clore {command} needs Linux or macOS")
    assert "search" in line


def test_supported_commands_work(renter: Renter) -> None:
    """An order made with `deploy` is listed and cancelled."""
    words = ("--image", "i", "--type", "on-demand", "--currency", "bitcoin")
    done = on_windows(renter, "clore_ai", "deploy", str(renter.server()), *words)
    assert done.returncode == 0, done.stderr
    order = done.stdout.strip()
    alone = WORKS - {"deploy", "cancel", "config", "spot-price", "server-config"}
    lines = [each.split() for each in (*sorted(alone), "config show", f"cancel {order} --yes")]
    done = on_windows(renter, "-c", COMMANDS_IN_TURN.format(lines=lines))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "end",
    [
        ("--lease", "2h"),
        *(
            pytest.param(each, marks=pytest.mark.exhaustive)
            for each in (("--max-hours", "2"), ("--max-cost", "1"))
        ),
    ],
)
def test_a_lease_without_a_keeper_is_refused(renter: Renter, end: tuple[str, str]) -> None:
    """No process stays in the background there, so nothing is rented with a limit."""
    words = ("--image", "i", "--type", "on-demand", "--currency", "bitcoin", "--yes", *end)
    done = on_windows(renter, "clore_ai", "deploy", str(renter.server()), *words)
    assert done.returncode == 2, done
    assert "needs Linux or macOS" in done.stderr
    assert not renter.orders()
