"""One marketplace in several processes: whichever answers, the answer is the same."""

import os
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest
from processes import running

from clore_sandbox import Sandbox

QUICK = {"visibility_lag_s": 0.05, "boot_s": 0.05, "limits": False}
#: So many connections miss one of two workers only once in 30,000 runs.
CONNECTIONS = 16


@pytest.fixture(scope="module")
def two_workers(new_schema):
    with Sandbox(**QUICK, db=new_schema(), workers=2) as sandbox:
        yield sandbox


@pytest.fixture
def market(two_workers):
    """A marketplace with two workers, as new: a start of these takes a second."""
    two_workers.reset()
    return two_workers


@pytest.fixture
def own_workers(new_schema):
    """Makes marketplaces with two workers and other options."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(
            Sandbox(**{**QUICK, "db": new_schema(), "workers": 2, "provision": False, **options})
        )


@pytest.fixture
def clients():
    """Opens connections of one account to a marketplace, spread over its workers."""
    with ExitStack() as stack:

        def make(sandbox, key=None, count=CONNECTIONS):
            return [
                stack.enter_context(
                    httpx.Client(
                        base_url=sandbox.base_url,
                        headers={"auth": key or sandbox.api_key},
                        timeout=20,
                    )
                )
                for _ in range(count)
            ]

        yield make


def pids(sandbox):
    return {worker.process.pid for worker in sandbox._run.pool._workers.values() if worker.serves}


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def connected_to(sandbox):
    """The workers that have a connection."""
    port = sandbox.port
    found = subprocess.run(["ss", "-tnpH", f"sport = :{port}"], capture_output=True, text=True)
    return {pid for pid in pids(sandbox) if f"pid={pid}," in found.stdout}


def rented(client, server):
    servers = client.get("/marketplace").json()["servers"]
    return next(s["rented"] for s in servers if s["id"] == server)


def test_sqlite_explains_why_it_has_one_process(tmp_path):
    with pytest.raises(ValueError, match="SQLite"):
        Sandbox(db=tmp_path / "market.db", workers=2)
    with pytest.raises(ValueError, match="SQLite"):
        Sandbox(workers=2)
    with pytest.raises(ValueError, match="workers"):
        Sandbox(workers=0)


def test_each_worker_shows_what_the_others_did(market, clients, renter_of):
    key = market.create_account({"bitcoin": 1})
    mine = clients(market, key)
    server = renter_of(market).free()[0]["id"]
    for number in range(0, len(mine), 8):
        created = mine[number].post(
            "/create_order",
            json={
                "renting_server": server,
                "currency": "bitcoin",
                "image": "a",
                "type": "on-demand",
            },
        )
        assert created.json() == {"code": 0}
        assert [rented(client, server) for client in mine] == [True] * len(mine)
        time.sleep(0.06)
        orders = [client.get("/my_orders").json()["orders"] for client in mine]
        assert [[o["si"] for o in rows] for rows in orders] == [[server]] * len(mine)
        cancelled = mine[number + 1].post("/cancel_order", json={"id": orders[0][0]["id"]})
        assert cancelled.json() == {"code": 0}
        assert [rented(client, server) for client in mine] == [False] * len(mine)
        assert market.wallet(key)["bitcoin"] < 1


def test_orders_of_one_server_never_overlap_in_the_books(own_workers, clients):
    """However long a request waited in the queue, it is dated when its turn comes."""
    market = own_workers(dialect="reference")
    mine = clients(market)
    order = {"currency": "bitcoin", "image": "a", "type": "on-demand"}
    records = mine[0].get("/marketplace").json()["servers"]
    order["renting_server"] = next(
        r["id"] for r in records if not r["rented"] and "bitcoin" in r["allowed_coins"]
    )

    ended = []

    def race(client):
        while len(ended) < 9:
            answer = client.post("/create_order", json=order).json()
            if answer["code"] == 0:
                assert client.post("/cancel_order", json={"id": answer["order_id"]}).json()
                ended.append(answer)

    with ThreadPoolExecutor(len(mine)) as pool:
        list(pool.map(race, mine))
    rows = market._run.store.call(
        lambda tx: tx.all("SELECT created_ms, ended_ms FROM orders ORDER BY id")
    )
    times = [(row["created_ms"], row["ended_ms"]) for row in rows]
    assert len(times) > 6
    assert [pair for pair in zip(times, times[1:]) if pair[0][1] > pair[1][0]] == []


def test_a_cancel_ends_the_room_whichever_worker_gets_it(market, renter_of, clients, shell_of):
    renter = renter_of(market, bitcoin=1)
    for client in clients(market, renter.http.headers["auth"])[:4]:
        order = renter.rent(command="setsid sleep 5501.5")
        assert shell_of(order).run("echo in").stdout == b"in\n"
        port = int(order["tcp_ports"][0].partition(":")[2])
        assert client.post("/cancel_order", json={"id": order["id"]}).json() == {"code": 0}
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 1)
        assert not running("sleep 5501.5")


def test_all_workers_share_one_clock(market, clients, renter_of):
    mine = clients(market)
    renter = renter_of(market)
    assert renter.create(renter.free()[0]["id"]).json() == {"code": 0}
    market.freeze()
    for _ in range(3):
        market.jump(3600)
        spends = {c.get("/my_orders").json()["orders"][0]["spend"] for c in mine}
        assert len(spends) == 1
    assert market.clock().frozen


def test_a_fault_affects_one_request_only(market, clients):
    mine = clients(market)
    market.fault("wallets", "500")
    assert sorted(c.get("/wallets").status_code for c in mine) == [200] * (len(mine) - 1) + [500]
    market.fault("wallets", "act_then_cut", times=len(mine))
    for client in mine:
        with pytest.raises(httpx.RemoteProtocolError):
            client.get("/wallets")
    assert {c.get("/wallets").status_code for c in mine} == {200}
    market.fault("wallets", "truncated_json", times=None)
    for client in mine:
        with pytest.raises(ValueError):
            client.get("/wallets").json()
    market.clear_faults()
    assert {c.get("/wallets").json()["code"] for c in mine} == {0}
    assert len(market.journal()) == 5 * len(mine)


def test_the_journal_has_every_request_once(market, clients):
    mine = clients(market)
    for client in mine:
        client.get("/wallets")
        client.post("/cancel_order", json={"id": 1})
    entries = market.journal()
    first = entries[0].number
    assert [e.number for e in entries] == list(range(first, first + 2 * len(mine)))
    assert sorted(e.endpoint for e in entries) == ["cancel_order"] * len(mine) + ["wallets"] * len(
        mine
    )
    over_http = httpx.get(
        f"{market.control_url}/journal", headers={"auth": market.control_key}
    ).json()
    assert len(over_http["journal"]) == len(entries)


def test_workers_share_one_rate_window_and_end_with_the_marketplace(own_workers, clients):
    market = own_workers(limits=True)
    workers = pids(market)
    assert len(workers) == 2
    market.freeze()
    mine = clients(market)
    codes = [c.get("/wallets").json()["code"] for c in mine]
    assert codes == [0] + [5] * (len(mine) - 1)
    market.jump(1)
    assert sorted(c.get("/wallets").json()["code"] for c in mine) == [0] + [5] * (len(mine) - 1)
    port = market.port
    market.stop()
    assert not any(map(alive, workers))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)


def test_a_reset_reaches_all_workers(market, clients, renter_of):
    mine = clients(market)
    renter = renter_of(market)
    server = renter.free()[0]["id"]
    renter.create(server)
    market.reset()
    assert [c.get("/my_orders").json()["orders"] for c in mine] == [[]] * len(mine)
    assert not any(rented(client, server) for client in mine)
    assert renter.create(server).json() == {"code": 0}


def test_each_minute_is_billed_once(market, renter_of):
    """A market minute passes in a sixth of a second; the bill is for the time that has passed."""
    market.speed(360)
    renter = renter_of(market)
    before = market.wallet()["bitcoin"]
    renter.create(renter.free()[0]["id"])
    time.sleep(1)
    market.freeze()
    (order,) = renter.orders()
    ticks = (market.clock().now - order["ct"]) // 60 + 1
    assert order["spend"] == pytest.approx(order["price"] * ticks / 1440, rel=0.001)
    paid = float(before - market.wallet()["bitcoin"])
    assert paid == pytest.approx(order["spend"] * 1.05, rel=0.001)


def test_a_dead_worker_is_replaced_and_nothing_is_lost(market, clients, renter_of, wait):
    renter = renter_of(market)
    order = renter.rent(command="setsid sleep 5502.5")
    before = pids(market)
    assert len(before) == 2
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait(lambda: len(pids(market)) == 2 and not pids(market) & before)
    mine = clients(market)
    for client in mine:
        (row,) = client.get("/my_orders").json()["orders"]
        assert (row["id"], row["tcp_ports"]) == (order["id"], order["tcp_ports"])
        assert rented(client, order["si"])
    assert connected_to(market) == pids(market)
    assert mine[0].post("/cancel_order", json={"id": order["id"]}).json() == {"code": 0}


def test_a_decision_of_a_dying_worker_is_carried_out(market, renter_of, wait):
    """Its transaction is in the store, and its process ends before any other one is notified."""
    renter = renter_of(market)
    order = renter.rent()
    port = int(order["tcp_ports"][0].partition(":")[2])
    market._run.store.call(
        lambda tx: tx.do(
            "UPDATE orders SET running = 0, billed = 0, ended_ms = created_ms + 1,"
            " reason = 'cancelled' WHERE id = ?",
            order["id"],
        )
    )
    assert rented(renter.http, order["si"])
    before = pids(market)
    os.kill(min(before), signal.SIGKILL)
    wait(lambda: len(pids(market)) == 2 and pids(market) != before)

    def refused():
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except ConnectionRefusedError:
            return True
        return False

    wait(refused)
    wait(lambda: not rented(renter.http, order["si"]))


def test_a_hung_worker_is_replaced(market, renter_of, wait, monkeypatch):
    monkeypatch.setattr("clore_sandbox.workers.pool._ANSWER_TIMEOUT_S", 0.5)
    before = pids(market)
    hanging = min(before)
    os.kill(hanging, signal.SIGSTOP)
    market.set_rented(market._settings.inventory.records[0]["id"], True)
    wait(lambda: len(pids(market)) == 2 and hanging not in pids(market))
    assert not alive(hanging)


def test_renters_race_for_one_server_at_two_workers(market, renter_of):
    server = renter_of(market).free()[0]["id"]
    keys = [market.create_account({"bitcoin": 1}) for _ in range(20)]
    ready = threading.Barrier(len(keys))

    def rent(key):
        with closing(httpx.Client(base_url=market.base_url, headers={"auth": key})) as client:
            client.get("/wallets")
            ready.wait()
            order = {"currency": "bitcoin", "image": "a", "type": "on-demand"}
            return client.post("/create_order", json={"renting_server": server, **order}).json()

    with ThreadPoolExecutor(len(keys)) as pool:
        answers = list(pool.map(rent, keys))
    assert sorted(a["code"] for a in answers) == [0] + [6] * 19
    assert {a.get("error") for a in answers} == {None, "server-already-rented"}
