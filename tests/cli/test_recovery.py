"""After a kill -9 at any point the next command finds the order, reports it, and asks."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Callable

import pytest
from forks import Forks, of_clore_first
from waiting import until

from .driver import DEPLOY, Renter, Terminal

if TYPE_CHECKING:
    from pathlib import Path

    from clore_ai.models.records import Intent

USD = (*DEPLOY, "USD-Blockchain")

# Runs `clore`, and kills it just before or just after its nth write to the ledger.
_KILLED = """
import os, signal, sys
from clore_ai._state.store import Store
from clore_ai.cli import main
nth, when = int(sys.argv.pop(1)), sys.argv.pop(1)
real, writes = Store.run, 0

def run(self, do):
    wrote = False

    def counted(db):
        nonlocal wrote
        global writes
        before = db.total_changes
        result = do(db)
        wrote = self.path is not None and db.total_changes > before
        writes += wrote
        if wrote and writes == nth and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    result = real(self, counted)
    if wrote and writes == nth and when == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    return result

Store.run = run
main()
"""


@lru_cache(maxsize=1)
def scripts() -> Forks:
    """The process that forks the killed commands."""
    return Forks("forks:script", of_clore_first())


def run_killed(renter: Renter, nth: int, when: str, *words: object) -> str:
    """The output until the kill, or all of it if the command completed."""
    script = renter.home.with_name("killed.py")
    script.write_text(_KILLED)
    done = scripts().run([str(script), str(nth), when, *map(str, words)], renter.env, "", 60)
    assert done.returncode in (-9, 0), done
    return done.stderr


def intents(renter: Renter) -> list[Intent]:
    from clore_ai._state.ledger import Ledger, account_of
    from clore_ai._state.store import Store

    return Ledger(Store(renter.home), account_of(renter.market.base_url, renter.key)).intents()


def lost(renter: Renter) -> int:
    """An order whose command was killed while the request was sent."""
    renter.fault("create_order", "late", delay_s=20)
    process = renter.start("deploy", renter.server(), *USD)
    (row,) = until(lambda: renter("orders", "--json").data, "the order")
    process.kill()
    process.communicate()
    return int(row["id"])


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "nth", [*(1, 3, 4), *(pytest.param(n, marks=pytest.mark.exhaustive) for n in (2, 5, 6))]
)
def test_killed_at_any_write(renter: Renter, nth: int, when: str) -> None:
    """The next command reports the order if one was made, and nothing if none was."""
    server = renter.server()
    seen = run_killed(renter, nth, when, "deploy", server, *USD)
    if not renter.orders():
        assert "Found" not in renter("wallets").err
        return
    (order,) = renter.orders()
    if f"Rented: order {order}" in seen:
        assert len(renter("wallets").err.splitlines()) <= 1
        return
    for _ in range(2):  # repeated until it is answered, since a line is easily missed.
        said = until(lambda: [x for x in renter("wallets").err.splitlines() if "Found" in x])
        assert len(said) == 1
        assert f"Found order {order} (server {server}" in said[0]
        assert f"clore orphans --adopt {order}" in said[0]
        assert f"clore cancel {order}" in said[0]
    renter("cancel", order)
    assert renter("wallets").err == ""
    assert renter.orders() == [order]


def test_the_same_ref_after_a_kill_is_the_same_order(renter: Renter) -> None:
    """The same command typed again prints the id of the order that the killed one made."""
    server = renter.server()
    words = ("deploy", server, *USD, "--ref", "run 7", "--purpose", "training")
    run_killed(renter, 3, "before", *words)
    assert len(renter.orders()) == 1
    again = renter(*words)
    assert renter.orders() == [int(again.out)]
    assert f"--ref run 7 is order {again.out.strip()} on server {server}" in again.err
    assert "Found" not in renter("orders").err
    (intent,) = intents(renter)
    assert (intent.purpose, intent.client_ref, intent.unacknowledged) == (
        "training",
        "run 7",
        False,
    )

    # On another server, as a dry run, and once the order has ended: still no second order.
    elsewhere = renter("deploy", renter.server(), *USD, "--ref", "run 7")
    assert elsewhere.out == again.out
    assert renter("deploy", server, *USD, "--ref", "run 7", "--dry-run").out == ""
    renter("cancel", again.out.strip())
    ended = renter("deploy", server, *USD, "--ref", "run 7")
    assert ended.out == again.out
    assert "It has ended; for a new one, give another --ref." in ended.err
    assert len(renter.orders()) == 1
    assert len(renter.requests("create_order")) == 1


def test_a_refused_ref_can_be_used_again(renter: Renter) -> None:
    """A refused request made no order, so the ref is free."""
    server = renter.server()
    renter.fault("create_order", "rate_limited", times=None)
    renter("deploy", server, *USD, "--ref", "a", fails=5, timeout=90)
    assert renter.orders() == []
    for fault in renter.market.faults():
        if fault.key == renter.key:
            renter.market.remove_fault(fault.id)
    assert int(renter("deploy", server, *USD, "--ref", "a").out) == renter.orders()[0]
    renter("cancel", renter.orders()[0])


@pytest.mark.parametrize("words", [("rent", "--verify-cmd", "sleep 600"), ("run",)])
def test_an_order_of_a_running_command_is_not_reported(
    renter: Renter, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """While `rent` verifies, the order is its own; once killed, other commands report it."""
    (tmp_path / "w").mkdir()
    more = ("--folder", tmp_path / "w", "--", "true") if words == ("run",) else ()
    renter.fault("create_order", "never_boots")
    process = renter.start(*words, "--gpu", "RTX", "--max-price", "5/h", "--yes", *more)
    with process:
        (order,) = until(renter.orders, "its order", 30)
        until(lambda: intents(renter)[0].order_id == order, "its record")
        for command in (("wallets",), ("orders",), ("orphans",)):
            assert "Found order" not in renter(*command).err
        process.kill()
        process.communicate()
    assert f"Found order {order}" in renter("wallets").err
    renter("cancel", order)


def test_recovery_without_a_network(renter: Renter) -> None:
    """What recovery cannot find out waits for a later command; the current command goes on."""
    order = lost(renter)
    renter.fault("my_orders", "500", times=1)
    for _ in range(2):
        said = renter("wallets", "--json")
        assert "It is not known yet whether server" in said.err
        assert said.data
        renter.fault("my_orders", "cut_before", times=1)
    renter("orders")  # The command hits that fault, retries and finds the order.
    assert f"Found order {order}" in renter("wallets").err
    renter("cancel", order)


def test_recovery_sends_no_needless_request(renter: Renter) -> None:
    """A command lists the orders first only if an earlier one left a request open."""
    renter("wallets")
    order = renter.rent()
    before = len(renter.requests("my_orders"))
    renter("wallets")
    renter("search", "--limit", 1)
    assert len(renter.requests("my_orders")) == before
    renter("cancel", order)


def test_recovery_asks_on_a_terminal(renter: Renter, terminal: Callable[..., Terminal]) -> None:
    """Later (the default, also Ctrl-C), keep or cancel; then the command goes on."""
    screen = terminal(renter, 130)

    def answered(order: int, *keys: str) -> str:
        screen.start("clore wallets")
        assert f"Found order {order}" in screen.wait("[later]:")
        screen.keys(*keys)
        text = screen.wait("end=0")
        assert "Deposit" in text
        return text

    def running() -> list[int]:
        return [row["id"] for row in renter("orders", "--json").data]

    order = lost(renter)
    for keys in (["Enter"], ["C-c"], ["k", "Enter"]):
        assert "Found" in renter("wallets").err
        answered(order, *keys)
        assert running() == [order]
    assert "Found" not in renter("wallets").err
    renter("cancel", order)
    order = lost(renter)
    assert "Cancelled: order" in answered(order, "c", "Enter")
    assert running() == []
    assert "Found" not in renter("wallets").err
