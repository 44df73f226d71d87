"""`clore monitor`: real rooms with busy and idle GPUs, vanishing hosts, wallets that run dry."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING, Any, Callable

import pytest
from tests.cli.conftest import environment
from tests.cli.driver import DEPLOY, Clore, Renter, Terminal, interrupt, processes_with
from waiting import until

from clore_sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUSY = "setsid sh -c 'while :; do :; done' >/dev/null 2>&1 </dev/null & echo $!"


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Renter]:
    """A renter in a marketplace of the test's own: hosts may vanish, the clock may jump."""
    home = tmp_path / ".clore"
    with Sandbox(limits=False, visibility_lag_s=0.1, boot_s=0.1) as market:
        key = market.create_account({"USD-Blockchain": 50})
        env = environment(
            home,
            CLORE_BASE_URL=market.base_url,
            CLORE_API_KEY=key,
            CLORE_REQUESTS_PER_SECOND="1000",
        )
        yield Renter(home, env, key, market=market, take=_taker(market))


def _taker(market: Sandbox) -> Callable[[], int]:
    import httpx

    rows = httpx.get(f"{market.base_url}/marketplace").json()["servers"]
    prices = sorted(
        (s["price"]["on_demand"]["USD-Blockchain"], s["id"])
        for s in rows
        if not s["rented"]
        and not s.get("gigaspot")
        and "USD-Blockchain" in s["allowed_coins"]
        and s["price"]["on_demand"].get("USD-Blockchain")
    )
    ids = iter([server for _, server in prices])
    return lambda: next(ids)


class Watcher:
    """`clore monitor --json` beside the test."""

    def __init__(self, user: Renter, *words: object) -> None:
        self.user = user
        self.process = user.start("monitor", "--json", "--every", 1, *words)
        self.seen: list[dict[str, Any]] = []

    def wait(self, what: str) -> dict[str, Any]:
        """The next event of this kind."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event: dict[str, Any] = json.loads(line)
            self.seen.append(event)
            if event["event"] == what:
                return event
        raise AssertionError((what, self.seen[-5:], self.process.communicate()))

    def status(self, holds: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The first status event that lists this order first."""
        while True:
            orders = self.wait("status")["orders"]
            if orders and holds(orders[0]):
                row: dict[str, Any] = orders[0]
                return row

    def stop(self) -> str:
        interrupt(self.process)
        _, err = self.process.communicate(timeout=20)
        assert self.process.returncode == 0, err
        self.user.check(err)
        return err


@pytest.fixture
def watch(alone: Renter) -> Iterator[Callable[..., Watcher]]:
    opened: list[Watcher] = []

    def make(*words: object) -> Watcher:
        opened.append(Watcher(alone, *words))
        return opened[-1]

    yield make
    for each in opened:
        if each.process.poll() is None:
            each.process.kill()
        each.process.communicate()


def test_once_shows_one_report(alone: Renter) -> None:
    """The report has state, host, SSH, both prices, cost, lease and GPUs, in lines and as JSON."""
    order = alone.rent("--lease", "6h", "--no-keeper")
    done = alone("monitor", "--once")
    for part in (f"order {order}: ", "running, host online, SSH up (127.0.0.1:", "/h = $", "/day",
                 "spent ", "lease 5h 59m", "GPU 0% 34°C"):  # fmt: skip
        assert part in done.out, done
    *_, last = alone("monitor", order, "--once", "--json").out.splitlines()
    (row,) = json.loads(last)["orders"]
    assert (row["order_id"], row["ssh"], row["host_online"]) == (order, "up", True)
    assert row["price_usd_per_day"] == pytest.approx(24 * row["price_usd_per_hour"])
    assert row["lease_left_s"] == pytest.approx(6 * 3600, abs=60)
    assert [gpu["use_percent"] for gpu in row["gpus"]] == [0.0] * len(row["gpus"])
    assert row["gpus"]
    bare = alone("monitor", "--once", "--no-gpu").out
    assert "GPU - -" in bare


def test_gpu_use_comes_over_one_connection(alone: Renter, watch: Callable[..., Watcher]) -> None:
    """Use and temperature follow a real process over one ssh; no process is left behind."""
    order = alone.rent()
    room = alone("ssh", order, "--", "echo $CLORE_SANDBOX_ROOM").out.strip()
    watching = watch(order)
    idle = watching.status(lambda row: row["gpus"])
    assert idle["gpus"][0]["use_percent"] == 0
    pid = alone("ssh", order, "--", BUSY).out.strip()
    busy = watching.status(lambda row: row["gpus"] and row["gpus"][0]["use_percent"] > 50)
    alone("ssh", order, "--", f"kill -9 -{pid}")
    assert busy["gpus"][0]["temperature_c"] > idle["gpus"][0]["temperature_c"]
    assert len(ours(watching)) == 1
    assert [line for line in processes_with(room) if "utilization" in line]
    err = watching.stop()
    assert f"Your orders keep running and are billed: {order}." in err
    assert f"clore cancel {order}" in err
    assert [o["id"] for o in alone("orders", "--json").data] == [order]
    until(lambda: not [line for line in processes_with(room) if "utilization" in line], "its end")
    alone("cancel", order)


def ours(watching: Watcher) -> list[str]:
    """The ssh processes of a monitor."""
    listed = subprocess.run(
        ["ps", "-o", "args=", "--ppid", str(watching.process.pid)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return [line for line in listed.stdout.splitlines() if line.startswith("ssh ")]


def test_a_host_that_vanishes_and_returns(alone: Renter, watch: Callable[..., Watcher]) -> None:
    """The loss is reported with how to stop paying; the connection reopens at the new address."""
    server = alone.server()
    order = alone.rent(server=server)
    watching = watch()
    watching.status(lambda row: row["gpus"])
    alone.market.set_online(server, False)
    lost = watching.wait("host_lost")
    assert f"clore cancel {order}" in lost["message"]
    row = watching.status(lambda row: row["ssh"] == "down")
    assert row["gpus"] == []
    assert not row["host_online"]
    alone.market.set_online(server, True)
    watching.wait("host_back")
    watching.status(lambda row: row["gpus"])
    watching.stop()
    alone("cancel", order)


def test_an_idle_order_is_warned_of_and_cancelled(
    alone: Renter, watch: Callable[..., Watcher]
) -> None:
    """A busy GPU is left alone; an idle order gets a warning, then it is cancelled."""
    order = alone.rent()
    pid = alone("ssh", order, "--", BUSY).out.strip()
    watching = watch(order, "--idle-cancel", "0.1m")
    watching.status(lambda row: row["gpus"] and row["gpus"][0]["use_percent"] > 50)
    busy = watching.seen[-1]["at"]
    assert all(event["event"] != "idle" for event in watching.seen)
    alone("ssh", order, "--", f"kill -9 -{pid}")
    assert "will be cancelled in " in watching.wait("idle")["message"]
    done = watching.wait("cancelled")
    assert done["order_id"] == order
    assert done["at"] - busy >= 6
    watching.wait("ended")
    assert watching.process.wait(20) == 0
    assert alone("orders", "--json").data == []
    assert len(alone.requests("cancel_order")) == 1


def test_idle_orders_rented_elsewhere_are_kept(
    alone: Renter, watch: Callable[..., Watcher]
) -> None:
    """An order of another ledger is cancelled only with --others or when its id is given."""
    other = alone.rent()
    (alone.home / "state.sqlite").unlink()  # From here on the order belongs to another machine.
    mine = alone.rent()
    watching = watch("--idle-cancel", "0.05m")
    assert watching.wait("cancelled")["order_id"] == mine
    idle = watching.status(lambda row: row["idle_s"] > 4)
    assert idle["order_id"] == other
    watching.stop()
    said = {event.get("message") for event in watching.seen if event.get("order_id") == other}
    assert any("not in this ledger and is not cancelled for idling" in str(each) for each in said)
    assert len(alone.requests("cancel_order")) == 1
    for words in (("--others",), (other, "--idle-cancel", "1h", "--others")):
        assert "--others needs --idle-cancel" in alone("monitor", *words, fails=2).err
    assert watch("--idle-cancel", "0.05m", "--others").wait("cancelled")["order_id"] == other


def test_a_failed_cancel_is_retried(alone: Renter, watch: Callable[..., Watcher]) -> None:
    """After a fault of the service the cancel is retried until the order is gone."""
    order = alone.rent()
    watching = watch(order, "--idle-cancel", "0.05m")
    alone.fault("cancel_order", "500", times=5)
    watching.wait("idle_over")
    watching.wait("cancelled")
    assert alone("orders", "--json").data == []
    assert len(alone.requests("cancel_order")) == 6
    assert watching.process.wait(20) == 0


def test_all_orders_are_monitored_without_ids(alone: Renter, watch: Callable[..., Watcher]) -> None:
    """Without ids every event of every order is reported; SIGTERM ends the command."""
    watching = watch("--no-gpu")
    watching.wait("status")
    order = alone.rent("--lease", "2h", "--no-keeper")
    assert watching.wait("order")["order_id"] == order
    alone.fault("my_orders", "500", times=8)
    watching.wait("trouble")
    alone.market.clear_faults()
    alone.market.advance(1.8 * 3600)
    assert f"clore lease extend {order} 6h" in watching.wait("lease_near")["message"]
    alone("cancel", order)
    assert "It cost " in watching.wait("ended")["message"]
    watching.process.send_signal(signal.SIGTERM)
    _, err = watching.process.communicate(timeout=20)
    assert watching.process.returncode == 0, err
    assert "Stopped." in err.splitlines()


def test_a_wallet_that_runs_dry(alone: Renter) -> None:
    """A wallet that runs dry within the hour is reported, whatever the lease."""
    key = alone.market.create_account({"USD-Blockchain": 0})
    env = {**alone.env, "CLORE_API_KEY": key}
    poor = Renter(alone.home, env, key, market=alone.market, take=alone.take)
    words = (*DEPLOY, "USD-Blockchain", "--lease", "none")
    server = poor.server()
    plan = poor("deploy", server, *words, "--dry-run", "--json").data
    alone.market.top_up(key, "USD-Blockchain", 0.1 + plan["total_usd_per_hour"] / 2)
    poor("deploy", server, *words)
    events = [json.loads(line) for line in poor("monitor", "--once", "--json").out.splitlines()]
    (dry,) = [event for event in events if event["event"] == "wallet_dry"]
    assert "The USD-Blockchain wallet is empty in about " in dry["message"]


def test_wrong_usage(alone: Renter, new_user: Clore) -> None:
    """An unknown order, a bad length, a missing key and a missing ssh are usage errors."""
    assert "No order 7 of yours runs. See: clore orders" in alone("monitor", 7, fails=4).err
    assert "write 30m" in alone("monitor", "--idle-cancel", "soon", fails=2).err.replace(
        "90m", "30m"
    )
    assert "leave out --no-gpu" in alone(
        "monitor", "--idle-cancel", "1h", "--no-gpu", fails=2
    ).err  # fmt: skip
    assert "openssh-client" in alone("monitor", fails=2, PATH="/nowhere").err
    assert "API key" in new_user("monitor", "--once", fails=3).err
    assert "No active orders." in alone("monitor", "--once").err


@pytest.mark.parametrize("width", [80, pytest.param(150, marks=pytest.mark.exhaustive)])
def test_on_a_terminal(alone: Renter, terminal: Callable[..., Terminal], width: int) -> None:
    """A table stays in place with the events above it; Ctrl-C leaves the order running."""
    server = alone.server()
    order = alone.rent(server=server)
    screen = terminal(alone, width)
    screen.start(f"clore monitor {order} --every 1")
    text = screen.wait("34°C")
    header = next(line for line in text.splitlines() if line.split()[:1] == ["ID"])
    assert {"State", "$/h", "$/day", "Spent", "Lease", "Use", "Temp", "SSH"} <= set(header.split())
    assert ("Address" in header) == (width == 150)
    alone.market.set_online(server, False)
    screen.wait("has gone offline")
    text = screen.wait("down")
    assert text.count("Lease") == 1
    screen.keys("C-c")
    text = screen.wait("end=0")
    assert f"keeprunningandarebilled:{order}." in "".join(text.split())
    alone("cancel", order)
