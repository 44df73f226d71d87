"""`clore rent` and `clore hosts`: the search, the plan, the question, the check; bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any, Callable

import pytest
from tests.cli.driver import Renter, Terminal, interrupt, processes_with
from waiting import patience, until

from clore_sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RENT = ("rent", "--gpu", "RTX 4090", "--no-keeper")


def soon() -> tuple[str, ...]:
    """A limit for waits that never succeed, yet long enough for those that do."""
    return ("--boot-timeout", f"{patience(2.0):.0f}")


@pytest.fixture(scope="module")
def market() -> Iterator[Sandbox]:
    """A marketplace of this file's own, since `rent` may take any server."""
    with Sandbox(limits=False, visibility_lag_s=0.05, boot_s=0.1) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def take() -> Callable[[], int]:
    """No test of this file asks for a server by its number."""
    return lambda: 0


@pytest.fixture
def user(renter: Renter) -> Iterator[Renter]:
    """A renter whose orders are cancelled at the end of the test."""
    yield renter
    renter("cancel", "--all", "--yes")


def active(user: Renter) -> list[int]:
    return [row["id"] for row in user("orders", "--json").data]


def test_stdout_holds_only_the_id(user: Renter) -> None:
    """The plan has both units, fees and the end; SSH works; later commands find no trouble."""
    done = user(*RENT, "--yes", "--purpose", "a test")
    assert active(user) == [int(done.out)]
    for said in ("/h = $", "/day", "with fee", "creation fee", "ends ", "balance", "else "):
        assert said in done.err
    assert f"Rented: order {done.out.strip()}" in done.err
    assert "driver 550.54.15, CUDA " in done.err
    again = user("ssh", done.out.strip(), "--", "nvidia-smi -L")
    assert "RTX 4090" in again.out
    assert "Found order" not in again.err
    (row,) = user("ledger", "--json").data["orders"]
    assert (row["purpose"], row["state"]) == ("a test", "running")


def test_json(user: Renter) -> None:
    order = user(*RENT, "--yes", "--json", "--verify", "ssh").data
    assert order["status"] == "running"
    assert order["active"]
    assert order["price_usd_per_hour"] > 0


def test_without_a_terminal_yes_is_required(user: Renter) -> None:
    done = user(*RENT, fails=2)
    assert "Add --yes" in done.err
    assert user.requests("create_order") == []


def test_a_dry_run_rents_nothing(user: Renter) -> None:
    done = user(*RENT, "--dry-run", "--top", "4")
    assert done.out == ""
    assert len([line for line in done.err.splitlines() if "RTX 4090\t" in line]) == 4
    rows = user(*RENT, "--dry-run", "--top", "4", "--json").data
    costs = [row["total_usd_per_hour"] for row in rows]
    assert len(costs) == 4
    assert costs[0] == min(costs)
    assert user.requests("create_order") == []


def test_no_match_names_the_option_and_what_would_match(user: Renter) -> None:
    done = user(*RENT, "--min-ram", "5000", "--yes", fails=6)
    assert "--min-ram: 0)" in done.err
    assert "Without --min-ram: " in done.err
    assert "/h" in done.err
    error = user(*RENT, "--min-ram", "5000", "--yes", "--json", fails=6).error
    assert error["code"] == "nothing_matched"
    assert error["lack"]["without"][0]["names"] == ["min_ram_gb"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--spot",), "--spot needs --spot-price, your bid in coin per day"),
        (("--spot",), "or --max-bid, the most to bid in USD per hour"),
        (("--max-bid", "0.4/h"), "--max-bid goes with --spot"),
        (("--on-demand", "--max-bid", "0.4/h"), "--max-bid goes with --spot"),
        (("--spot", "--max-bid", "1", "--spot-price", "1"), "one of them"),
        (("--spot", "--max-bid", "0"), "'0' is not above 0"),
        (("--spot", "--max-bid", "-1"), "write 0.4/h or 9.6/day"),
        (("--spot", "--max-bid", "3/week"), "write 0.4/h or 9.6/day"),
        (("--spot", "--max-bid", "0.0001 BTC/day"), "A bid in a coin is --spot-price"),
        (("--detach",), "--detach goes with --spot --max-bid"),
        (("--spot-price", "1"), "--spot-price goes with --spot"),
        (("--spot", "--spot-price", "1"), "name it with --currency"),
        (("--country", "Sweden"), "two letters"),
        (("--cuda", "new"), "12.4"),
        (("--min-reliability", "98"), "write 0.98 or 98%"),
        (("--max-price", "cheap"), "0.5/h"),
        (("--gpus", "0"), "--gpus"),
        (("--port", "80:http"), "port 22"),
        (("--lease", "6 weeks"), "6h"),
        (("--lease", "6h", "--max-hours", "2"), "leave out one"),
        (("--verify", "none", "--verify-cmd", "true"), "verify"),
        (("--image", " "), "image is empty"),
        (("--ssh-key-file", "/nowhere/key"), "no public key"),
    ],
)
def test_bad_input_is_one_sentence(user: Renter, words: tuple[str, ...], says: str) -> None:
    done = user(*RENT, "--yes", *words, fails=2)
    assert says in done.err
    assert done.err.count("Error:") == 1
    assert user.requests("create_order") == []


def spot(words: tuple[str, ...]) -> tuple[str, ...]:
    return (*RENT, "--spot", *words, "--verify", "ssh", "--yes")


def test_a_spot_bid_is_held_until_ctrl_c(user: Renter) -> None:
    """The order goes on at its last bid; events are JSON lines, and the exit code is 130."""
    process = user.start(*spot(("--max-bid", "2/h", "--json")))
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    assert (first["event"], first["order"]["type"]) == ("order", "spot")
    order, (sent,) = first["order_id"], user.requests("create_order")
    assert sent.body is not None
    assert "required_price" not in sent.body
    assert first["order"]["price"] == sent.body["spotprice"]
    assert json.loads(process.stdout.readline())["event"] == "begins"
    assert json.loads(process.stdout.readline())["event"] == "runs"
    interrupt(process)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    user.check(out + err)
    assert json.loads(out.splitlines()[-1])["event"] == "report"
    assert f"Order {order} goes on; while it runs it is billed at $" in err
    assert f"clore cancel {order}" in err
    assert active(user) == [order]


def test_a_detached_spot_rental_names_the_process_that_holds_the_bid(user: Renter) -> None:
    """The plan names the limit; stdout has only the id."""
    done = user(*spot(("--max-bid", "48/day", "--detach")))
    assert active(user) == [int(done.out)]
    assert "at most   $2.0000/h = $48.00/day without fee" in done.err
    assert "at a bid of $" in done.err
    assert f"hold it with: clore spot auto {done.out.strip()} --max 2/h" in done.err
    rows = user(*spot(("--max-bid", "2/h", "--dry-run", "--json"))).data
    assert 0 < rows[0]["price_usd_per_hour"] <= 2


def test_a_spot_limit_below_every_offer_shows_the_lowest(user: Renter) -> None:
    done = user(
        *spot(
            (
                "--max-bid",
                "0.000001/h",
            )
        ),
        fails=6,
    )
    assert "--max-bid: 0)" in done.err
    assert "Without --max-bid: " in done.err
    assert "from $" in done.err
    assert user.requests("create_order") == []


def test_a_bad_machine_is_reported_recorded_and_replaced(user: Renter) -> None:
    user.fault("create_order", "refuses_key")
    done = user(*RENT, "--yes", *soon())
    bad, good = user.orders()
    assert int(done.out) == good
    assert f"Order {bad} on server" in done.err
    assert "did not work: SSH refuses the key (attempt 1 of 3)." in done.err
    assert f"Cancelled: order {bad}." in done.err
    assert active(user) == [good]
    seen = user("hosts", "--json").data["seen"]
    assert [(r["boots"], r["failures"]) for r in seen] == [(0, 1), (1, 0)]
    assert "SSH refuses the key" in user("hosts").out
    rows = user("ledger", "--json").data["orders"]
    assert [row["reason"] for row in rows if row["order_id"] == bad] == ["SSH refuses the key"]


def test_if_no_machine_is_good_each_is_named(user: Renter) -> None:
    user.fault("create_order", "fewer_gpus", times=2)
    error = user(*RENT, "--yes", "--attempts", "2", "--json", fails=1).error
    assert error["code"] == "none_good"
    assert [a["what"] for a in error["attempts"]] == ["failed", "failed"]
    assert active(user) == []


def test_the_same_ref_is_the_same_order(user: Renter) -> None:
    first = user(*RENT, "--yes", "--ref", "a")
    again = user(*RENT, "--ref", "a")  # Nothing is spent, so --yes is not needed.
    assert first.out == again.out
    assert "The same as before" in again.err
    assert len(user.orders()) == 1


def test_a_budget_is_enforced(user: Renter) -> None:
    user("budget", "set", "0.01/day")
    assert "budget" in user(*RENT, "--yes", fails=7).err
    assert "--max-cost: 0)" in user(*RENT, "--yes", "--max-cost", "0.00001", fails=6).err
    assert user.requests("create_order") == []


def test_without_ssh_nothing_is_rented(user: Renter, tmp_path: Path) -> None:
    """The check needs ssh, and without a key from the user it needs ssh-keygen too."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "ssh-keygen").symlink_to(str(shutil.which("ssh-keygen")))
    done = user(*RENT, "--yes", fails=2, PATH=os.fspath(programs))
    assert "ssh is not installed" in done.err
    assert "openssh-client" in done.err
    assert user.requests("create_order") == []


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.exhaustive)]
)
def test_a_signal_cancels_the_pending_order(user: Renter, number: int) -> None:
    """A closing terminal or a service manager leaves no machine running without a message."""
    length = f"60.{os.getpid()}{number:d}"
    process = user.start(*RENT, "--yes", "--verify-cmd", f"sleep {length}")
    until(lambda: processes_with(f"sleep\0{length}"), "the verification", 30)
    (order,) = user.orders()
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert f"Order {order} was cancelled; nothing runs." in err
    assert active(user) == []


@pytest.mark.parametrize("times", [1, 2, 3])
def test_ctrl_c_cancels_the_pending_order(user: Renter, times: int) -> None:
    """Once: the order is cancelled. Twice: the end is not awaited. Three times: exit at once.

    A second Ctrl-C does not interrupt a cancel that is already on its way.
    """
    user.fault("create_order", "never_boots")
    if times > 1:
        user.fault("cancel_order", "late", delay_s=3 if times == 2 else 60)
    process = user.start(*RENT, "--yes")
    assert process.stderr is not None
    said = ""
    while "billed from now on" not in said:
        said += process.stderr.readline()
    (order,) = until(user.orders)
    interrupt(process)
    while "Cancelling order" not in said:
        said += process.stderr.readline()
    if times > 1:
        until(lambda: user.requests("cancel_order"))
        user.fault("my_orders", "late", delay_s=60, times=None)
        interrupt(process)
    if times > 2:
        time.sleep(0.5)  # Otherwise the two would count as one.
        interrupt(process)
    _out, rest = process.communicate(timeout=30)
    assert process.returncode == 130
    user.check(said + rest)
    user.market.clear_faults()
    if times == 1:
        assert f"Order {order} was cancelled; nothing runs." in rest
    else:
        assert f"Order {order} is not confirmed as ended and may be billed." in rest
        assert f"clore cancel {order}" in rest
    if times < 3:
        assert active(user) == []


def test_ctrl_c_twice_during_the_order_request(user: Renter) -> None:
    """The second ends the wait for the answer; the order is looked up and cancelled."""
    user.fault("create_order", "late", delay_s=60)
    process = user.start(*RENT, "--yes")
    (order,) = until(user.orders)
    user.fault("my_orders", "late", delay_s=60)
    for _ in range(2):
        looks = len(user.requests("my_orders"))
        interrupt(process)
        until(lambda looks=looks: len(user.requests("my_orders")) > looks)  # type: ignore[misc]
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert f"Order {order} was cancelled; nothing runs." in err
    assert active(user) == []


def test_the_default_answer_is_no(user: Renter, terminal: Callable[..., Terminal]) -> None:
    """Return and Ctrl-C rent nothing; y rents, and stdout has only the id."""
    screen = terminal(user)
    for key, code, said in (
        ("Enter", 1, "Nothing was rented."),
        ("C-c", 130, "nothing was rented."),
    ):
        screen.start("clore rent --no-keeper --gpu 'RTX 4090' --top 3")
        text = screen.wait("Rent it? [y/N]:")
        assert "With fees $/h" in text
        screen.keys(key)
        assert said in screen.wait(f"end={code}")
    assert user.requests("create_order") == []
    screen.start("id=$(clore rent --no-keeper --gpu 'RTX 4090'); echo got=$id")
    screen.wait("Rent it?")
    screen.type("y")
    text = screen.wait("end=0")
    assert f"got={user.orders()[0]}" in text


def test_hosts_are_blocked_listed_imported_and_allowed(user: Renter, tmp_path: Path) -> None:
    """A blocked host is not rented."""
    best: int = user(*RENT, "--dry-run", "--json").data[0]["server_id"]
    user("hosts", "block", best, "owner:99", "--note", "slow disk")
    rows: list[dict[str, Any]] = user(*RENT, "--dry-run", "--json").data
    assert best not in [row["server_id"] for row in rows]
    listed = user("hosts", "export").out
    assert listed == f"{best}  # slow disk\nowner:99  # slow disk\n"
    user("hosts", "allow", best, "owner:99")
    assert json.loads(user("hosts", "export", "--json").out) == []
    assert user(*RENT, "--dry-run", "--json").data[0]["server_id"] == best
    path = tmp_path / "list"
    path.write_text(listed)
    assert "Blocked: server" in user("hosts", "import", path).err
    assert user("hosts", "export").out == listed
    assert "Nothing was recorded against 12345." in user("hosts", "allow", "12345").err


@pytest.mark.parametrize(
    ("words", "stdin", "says"),
    [
        (("block", "twelve"), "", "'twelve' is not a host"),
        (("block",), "", "Missing argument"),
        (("import", "-"), "12\nfoo\n", "Line 2 ('foo') is not a host"),
        (("import", "/nowhere"), "", "No such file"),
    ],
)
def test_hosts_refuses_bad_input(
    user: Renter, words: tuple[str, ...], stdin: str, says: str
) -> None:
    assert says in user("hosts", *words, stdin=stdin, fails=2).err
    assert user("hosts", "list", "--json").data == {"seen": [], "blocked": []}
