"""Kill -9 in the middle of everything, then a restart with the same books: nothing is lost."""

import contextlib
import os
import random
import signal
import subprocess
import threading
from pathlib import Path

import httpx
import pytest
import served
from processes import running
from served import serve

from clore_sandbox import Sandbox
from clore_sandbox.store import Store

RENTERS = 8
START = 10**12  # units of bitcoin that each renter starts with


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql, 1 process", marks=pytest.mark.exhaustive),
        "postgresql, 2 workers",
    ]
)
def kept(request, tmp_path):
    """The options for a marketplace that keeps its books."""
    if request.param == "sqlite":
        return ["--db", str(tmp_path / "market.db")]
    workers = "2" if "2 workers" in request.param else "1"
    return ["--db", request.getfixturevalue("postgres_db"), "--workers", workers]


def children(pid):
    listing = subprocess.run(["ps", "axo", "pid,ppid"], capture_output=True, text=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listing.splitlines()[1:]]
    return [child for child, parent in pairs if parent == pid]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def open_account(db, key):
    """Open an account in the books of a stopped marketplace."""
    from clore_sandbox import books

    store = Store(db)
    store.call(lambda tx: books.create_account(tx, key, {"bitcoin": START}))
    store.close()


def rent_and_cancel(url, key, servers, answered):
    """Rent any free server and cancel or keep it, until the marketplace is gone."""
    draw = random.Random(key)
    with httpx.Client(base_url=url, headers={"auth": key}, timeout=10) as client:
        while True:
            try:
                order = {"currency": "bitcoin", "image": "a", "type": "on-demand"}
                order["renting_server"] = draw.choice(servers)
                if client.post("/create_order", json=order).json() == {"code": 0}:
                    answered.append(order)
                for row in client.get("/my_orders").json().get("orders", []):
                    if draw.random() < 0.7:
                        client.post("/cancel_order", json={"id": row["id"]})
            except (httpx.HTTPError, ValueError):
                return


def check_books(store):
    """Check that the renters lost what their orders cost, and that others earned it."""

    def read(tx):
        accounts = tx.all("SELECT id FROM accounts WHERE api_key LIKE 'renter-%'")
        return (
            {row["id"] for row in accounts},
            tx.all("SELECT account, amount FROM wallets WHERE coin = 'bitcoin'"),
            tx.all("SELECT * FROM orders"),
            tx.number("SELECT amount FROM wallets WHERE account = 1000001 AND coin = 'bitcoin'"),
        )

    renters, wallets, orders, first = store.call(read)
    assert len(renters) == RENTERS
    for renter in renters:
        cost = sum(
            o["spend"] + o["fee"] + o["creation_fee"] for o in orders if o["account"] == renter
        )
        (left,) = [w["amount"] for w in wallets if w["account"] == renter]
        assert START - left == cost
        assert left >= 0
    earned = sum(w["amount"] for w in wallets if w["account"] not in renters) - first
    spent = sum(START - w["amount"] for w in wallets if w["account"] in renters)
    assert earned == spent
    live = [o["server"] for o in orders if o["running"]]
    assert len(live) == len(set(live))
    for order in orders:
        assert bool(order["running"]) == (order["ended_ms"] is None)
    return orders


def test_the_books_balance_after_a_kill_under_load(kept, wait):
    """Eight renters are at work; the kill interrupts transactions in every stage."""
    db = kept[1]
    Sandbox(db=db, provision=False).start().stop()
    keys = [f"renter-{number}-key" for number in range(RENTERS)]
    for key in keys:
        open_account(db, key)
    seen = 0
    for _ in range(2):
        with serve(*kept) as market:
            workers = children(market.process.pid)
            listed = httpx.get(f"{market.base_url}/marketplace").json()["servers"]
            prices = {
                s["id"]: s["price"]["on_demand"].get("bitcoin", 1)
                for s in listed
                if not s["rented"] or seen
            }
            servers = sorted(prices, key=prices.get)[:12]
            answered = []
            threads = [
                threading.Thread(
                    target=rent_and_cancel, args=(market.base_url, key, servers, answered)
                )
                for key in keys
            ]
            for thread in threads:
                thread.start()
            wait(lambda done=answered: len(done) > 15)
            market.kill()
            for thread in threads:
                thread.join()
        # Its workers end with it, and no longer hold the books.
        store = Store(db)
        orders = check_books(store)
        store.close()
        wait(lambda gone=workers: not any(map(alive, gone)))
        # Every acknowledged order is there.
        assert len(orders) >= seen + len(answered)
        seen = len(orders)


@pytest.mark.parametrize(
    "kept",
    [
        "sqlite",
        # Machines are the affair of the one process that has the workers.
        pytest.param("postgresql, 1 process", marks=pytest.mark.exhaustive),
        pytest.param("postgresql, 2 workers", marks=pytest.mark.exhaustive),
    ],
    indirect=True,
)
def test_the_next_marketplace_resumes_live_orders_only(kept, renter_of, shell_of, wait):
    """Old processes are gone, the running order is up again, the ended one is not."""
    mark = random.randrange(10**6, 10**7)  # since parallel tests run the same command
    live, over, loose = (f"sleep {n}{mark}" for n in (1, 2, 3))
    with serve(*kept) as market:
        renter = renter_of(market)
        kept_order = renter.rent(command=f"setsid {live}")
        ended = renter.rent(command=f"setsid {over}")
        shell_of(kept_order).run(f"echo kept > file; setsid {loose} >/dev/null 2>&1 &")
        wait(lambda: all(map(running, (live, over, loose))))
        workers = children(market.process.pid)
        market.kill()
    wait(lambda: not any(map(running, (live, over, loose))))
    wait(lambda: not any(alive(pid) for pid in workers if "worker" in command_of(pid)))
    store = Store(kept[1])
    end = "UPDATE orders SET running = 0, billed = 0, ended_ms = ?, reason = 'cancelled'"
    store.call(
        lambda tx: tx.do(f"{end} WHERE id = ?", int(kept_order["ct"] * 1000) + 1, ended["id"])
    )
    before = store.call(
        lambda tx: tx.number("SELECT spend FROM orders WHERE id = ?", kept_order["id"])
    )
    store.close()
    with serve(*kept) as market:
        again = renter_of(market)
        assert again.http.headers["auth"] == renter.http.headers["auth"]
        assert not running(over)
        assert not running(loose)
        row = wait(lambda: next((o for o in again.orders() if o.get("tcp_ports")), None))
        assert row["id"] == kept_order["id"]
        assert len(again.orders()) == 1
        wait(lambda: shell_of(row).run("cat file").stdout == b"kept\n", 60)
        wait(lambda: running(live))
        assert row["spend"] * 10**12 <= before * 2.001
    assert not running(live)


def command_of(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def test_time_without_a_marketplace_is_not_billed(kept_db, renter_of):
    """An hour without a marketplace costs no tick."""
    options = {"db": kept_db, "visibility_lag_s": 0, "provision": False, "limits": False}
    with Sandbox(**options) as market:
        renter = renter_of(market)
        renter.create(renter.free()[0]["id"])
        (before,) = renter.orders()
    store = Store(kept_db)
    hour = 3_600_000
    # As if the marketplace had stopped an hour ago.
    store.call(
        lambda tx: tx.do(
            "UPDATE orders SET start_ms = start_ms - ?, due_ms = due_ms - ?, created_ms ="
            " created_ms - ?, visible_ms = visible_ms - ?",
            *[hour] * 4,
        )
    )
    store.call(lambda tx: tx.do("UPDATE meta SET value = '0' WHERE name = 'clock_ms'"))
    store.close()
    with Sandbox(**options) as market:
        (after,) = renter_of(market).orders()
        assert after["spend"] <= before["spend"] * 2.001


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        *(pytest.param(n, marks=pytest.mark.exhaustive) for n in (signal.SIGINT, signal.SIGHUP)),
    ],
)
def test_a_signal_ends_all_workers(postgres_db, number):
    with serve("--db", postgres_db, "--workers", "2") as market:
        workers = children(market.process.pid)
        assert len(workers) == 2
        market.process.send_signal(number)
        assert market.process.wait(60) == 0
    assert not any(map(alive, workers))
    assert os.getpgrp()


def test_a_second_marketplace_over_the_same_books_is_refused(kept_db):
    with serve("--db", str(kept_db)):
        status, said = served.fails("--db", kept_db)
    assert status == 1
    (line,) = said.splitlines()
    assert "another marketplace" in line
