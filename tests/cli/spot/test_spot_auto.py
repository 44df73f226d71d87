"""`clore spot auto`: its plan, questions, events, Ctrl-C, and the on-demand fallback."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any, Callable

import pytest
from tests.cli.driver import Clore, Renter, Terminal, interrupt
from waiting import until

if TYPE_CHECKING:
    import subprocess

    Open = Callable[..., Terminal]

SPOT = ("--image", "cloreai/ubuntu22.04-cuda12", "--type", "spot", "--currency", "USD")


@pytest.fixture
def server(renter: Renter) -> tuple[int, float]:
    """A server with a lowest bid in USD, and that bid."""
    import httpx

    url, key = f"{renter.market.base_url}/spot_marketplace", {"auth": renter.key}
    while True:
        number = renter.server()
        market = httpx.get(url, params={"market": number}, headers=key).json()["market"]
        least = market["server"]["min_pricing"].get("USD-Blockchain", 0)
        if least > 0.5:
            return number, least


@pytest.fixture
def rival(renter: Renter) -> Clore:
    """Another renter with money."""
    key = renter.market.create_account({"USD-Blockchain": 1_000})
    home = renter.home.with_name(".rival")
    env = {**renter.env, "CLORE_API_KEY": key, "CLORE_HOME": str(home)}
    return Clore(home, env, key)


def bid(user: Clore, server: int, price: float) -> int:
    return int(user("deploy", server, *SPOT, "--spot-price", f"{price:.8f}", "--force").out)


def lines(process: subprocess.Popen[str]) -> Callable[[str], dict[str, Any]]:
    """Reads a --json stream and returns its next event."""
    assert process.stdout is not None
    stream = process.stdout

    def next_of(kind: str) -> dict[str, Any]:
        for line in stream:
            event: dict[str, Any] = json.loads(line)
            if event["event"] == kind:
                return event
        raise AssertionError(f"no {kind}")

    return next_of


def steer(user: Clore, order: int, *words: object) -> subprocess.Popen[str]:
    return user.start("spot", "auto", order, "--every", 1, "--yes", "--json", *words)


def test_spot_show_is_004s_spot(renter: Renter, server) -> None:
    """004's `clore spot SERVER_ID` and `clore spot show SERVER_ID` print the same market."""
    number, least = server
    for words in ((number, "--json"), ("--json", number), ("show", number, "--json")):
        data = renter("spot", *words).data
        assert data["server"]["min_pricing"]["USD-Blockchain"] == least
    assert "Lowest bid:" in renter("spot", number).err
    assert "There is no server 999999999" in renter("spot", 999999999, fails=4).err
    assert "Did you mean 'auto'?" in renter("spot", "atuo", 7, fails=2).err
    assert "SERVER_ID" in renter("spot", "--json", fails=2).err


def test_once_makes_one_bid(renter: Renter, rival: Clore, server) -> None:
    """One look and one bid, as for cron; the next call reports the savings since the first."""
    number, least = server
    order = bid(renter, number, least)
    bid(rival, number, least + 0.1)
    words = ("spot", "auto", order, "--once", "--yes", "--max", f"{least + 0.5}/day")
    first = renter(*words)
    for text in ("at most   $", "on demand $", "/h = $", "Raised to $", "first check"):
        assert text in first.err
    assert first.out == ""
    assert renter("spot", number, "--json").data["offers"][0]["order_id"] == order

    events = [json.loads(line) for line in renter(*words, "--json").out.splitlines()]
    assert [e["event"] for e in events] == ["begins", "runs", "ends", "report"]
    assert events[1]["usd_per_hour"] == pytest.approx(events[1]["bid"] / 24)
    report = events[-1]
    assert report["order_id"] == order
    assert report["ended"] == "once"
    assert report["seen_s"] > 0
    assert (report["outbids"], report["raised"]) == (0, 1)
    assert report["spend"] >= 0
    assert "less than on demand" in renter(*words).err or "more than" in renter(*words).err
    renter("cancel", order)


def test_auto_runs_until_the_order_ends(renter: Renter, rival: Clore, server) -> None:
    """Outbid, raised, cancelled elsewhere: one JSON line an event, the report last, exit 0."""
    number, least = server
    order = bid(renter, number, least)
    process = steer(renter, order, "--max", f"{least + 0.5}/day")
    event = lines(process)
    assert event("runs")["bid"] == least
    theirs = bid(rival, number, least + 0.1)
    assert event("raised")["bid"] == pytest.approx(least + 0.1, abs=1e-6)
    rival("spot-price", theirs, least + 3, "--force")
    event("beaten")
    renter("cancel", order)
    assert event("report")["ended"] == "ended"
    _, err = process.communicate(timeout=20)
    renter.check(err)
    assert process.returncode == 0, err
    rival("cancel", theirs)


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_ctrl_c_reports_the_order_and_its_bid(renter: Renter, server, how: str) -> None:
    """The order goes on; exit 130; the reported bid is the one the marketplace has."""
    number, least = server
    order = bid(renter, number, least)
    process = steer(renter, order, "--max", f"{least + 1}/day")
    lines(process)("runs")
    if how == "Ctrl-C":
        interrupt(process)
    else:
        process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert json.loads(out.splitlines()[-1])["ended"] == "stopped"
    error = json.loads(err.splitlines()[-1])
    assert error["code"] == "interrupted"
    said = f"Order {order} goes on; while it runs it is billed at ${least / 24:.4f}/h = "
    assert said in error["message"]
    assert f"clore cancel {order}" in error["message"]
    assert [o["id"] for o in renter("orders", "--json").data] == [order]
    renter("cancel", order)


def test_ctrl_c_while_a_bid_is_sent(renter: Renter, rival: Clore, server) -> None:
    """Either bid may be in force, so both are reported, or the one seen in the last look."""
    number, least = server
    order = bid(renter, number, least)
    theirs = bid(rival, number, least + 0.1)
    renter.fault("set_spot_price", "late", delay_s=15)
    process = steer(renter, order, "--max", f"{least + 1}/day")
    until(lambda: renter.requests("set_spot_price"), "the bid")
    interrupt(process)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "which was on its way" in json.loads(err.splitlines()[-1])["message"]
    renter("cancel", order)
    rival("cancel", theirs)


def test_on_demand_replaces_a_lost_spot_order(renter: Renter, rival: Clore, server) -> None:
    """Stdout has the new id, clore's own key opens it, and the old order is cancelled."""
    number, least = server
    order = bid(renter, number, least)
    theirs = bid(rival, number, least + 5)
    renter.secrets = ["a-secret-of-the-fallback"]
    done = renter(
        "spot", "auto", order, "--max", f"{least + 1}/day", "--every", 1, "--yes", "--debug",
        "--fallback", "on-demand", "--patience", "0.01m", "--env", "OF_MINE", "--curl",
        OF_MINE="a-secret-of-the-fallback",
    )  # fmt: skip
    new = int(done.out)
    assert f"on demand on server {number}, at most $" in done.err
    assert "Rented instead: " in done.err
    assert [o["id"] for o in renter("orders", "--json").data] == [new]
    assert renter.orders() == [order, new]
    created = renter.requests("create_order")[-1].body
    assert created is not None
    assert list(created["env"]) == ["OF_MINE"]
    assert "inside" in renter("ssh", new, "--", "echo", "inside").out
    renter("cancel", new)
    rival("cancel", theirs)


@pytest.mark.parametrize("how", ["killed", "Ctrl-C"])
def test_ctrl_c_between_renting_and_cancelling(
    renter: Renter, rival: Clore, server, how: str
) -> None:
    """Both orders are reported; the next call finds the new one, so there is never a second."""
    number, least = server
    order = bid(renter, number, least)
    theirs = bid(rival, number, least + 5)
    words = ("--max", f"{least + 1}/day", "--fallback", "on-demand", "--patience", "0.01m")
    renter.fault("cancel_order", "500", times=None)
    process = steer(renter, order, *words)
    until(lambda: renter.requests("cancel_order"), "the cancel")
    new = renter.orders()[1]
    if how == "killed":
        process.kill()
        out, _ = process.communicate(timeout=20)
    else:
        interrupt(process)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 130, err
        message = json.loads(err.splitlines()[-1])["message"]
        assert f"Order {new} was rented instead, and is billed." in message
        assert f"clore cancel {order} {new}" in message
    assert f'"new_order_id": {new}' in out
    renter.market.clear_faults()
    again = renter("spot", "auto", order, "--every", 1, "--yes", *words)
    assert int(again.out) == new
    assert renter.orders() == [order, new]
    assert [o["id"] for o in renter("orders", "--json").data] == [new]
    renter("cancel", new)
    rival("cancel", theirs)


def test_wrong_usage(renter: Renter, new_user: Clore, server) -> None:
    """Each error is one sentence with the right exit code, and no bid is sent."""
    number, least = server
    order = bid(renter, number, least)

    def said(*words: object, fails: int = 2) -> str:
        return renter("spot", "auto", *words, fails=fails).err

    assert "Add --yes" in said(order, "--max", "1/h")
    assert "write 0.4/h or 9.6/day (USD)" in said(order, "--max", "much", "--yes")
    assert "not above 0" in said(order, "--max", "0", "--yes")
    assert "is paid in USD-Blockchain" in said(order, "--max", "1 BTC/day", "--yes")
    assert "90m, 6h or 2d" in said(order, "--max", "1/h", "--for", "soon", "--yes")
    assert "add --fallback" in said(order, "--max", "1/h", "--env", "A=B", "--yes")
    assert "no order 7" in said(7, "--max", "1/h", "--yes", fails=4)
    assert "--every" in said(order, "--max", "1/h", "--every", "nan", "--yes")
    assert (
        new_user("spot", "auto", 7, "--max", "1/h", "--yes", "--json", fails=3).error["exit"] == 3
    )
    assert renter.requests("set_spot_price") == []
    renter("cancel", order)
    assert "has ended" in said(order, "--max", "1/h", "--yes", fails=4)


def test_the_default_answer_is_no(renter: Renter, server, terminal: Open) -> None:
    """No is the default; y goes on; after Ctrl-C complete lines report what goes on."""
    number, least = server
    order = bid(renter, number, least)
    screen = terminal(renter)
    screen.start(f"clore spot auto {order} --max {least + 1}/day --every 1")
    screen.wait("Start bidding? [y/N]:")
    screen.keys("Enter")
    assert "The bid is unchanged." in screen.wait("end=1")
    screen.start(f"clore spot auto {order} --max {least + 1}/day --every 1")
    screen.wait("Start bidding?")
    screen.type("y")
    screen.wait("Runs at $")
    screen.keys("C-c")
    text = "".join(screen.wait("end=130").split())
    assert f"Order{order}goeson;whileitrunsitisbilledat$" in text
    assert f"clorecancel{order}" in text
    renter("cancel", order)
