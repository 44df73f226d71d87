"""A marketplace in a process: started, stopped, started again, forked, or not at all."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from clore_sandbox import Sandbox

QUIET = {"provision": False, "limits": False}


def test_a_stopped_market_explains_its_errors_and_stops_again():
    sandbox = Sandbox(**QUIET)
    for _ in range(2):
        sandbox.stop()
        with pytest.raises(RuntimeError, match="start it first"):
            sandbox.jump(1)
        with sandbox, pytest.raises(RuntimeError, match="runs already"):
            sandbox.start()
        sandbox.stop()


def test_two_in_one_process_are_independent():
    with Sandbox(**QUIET) as one, Sandbox(**QUIET) as other:
        one.freeze()
        one.create_account({"bitcoin": 1}, "mine")
        assert not other.clock().frozen
        assert [account.key for account in other.accounts()] == [other.api_key]
        one.stop()
        assert httpx.get(f"{other.base_url}/marketplace").status_code == 200


def test_stopping_leaves_no_thread_and_no_descriptor(tmp_path):
    def start_and_stop():
        with Sandbox(db=tmp_path / "market.db", limits=False) as market:
            market.reset()
            answer = httpx.get(f"{market.base_url}/wallets", headers={"auth": market.api_key})
            assert answer.status_code == 200

    def held():
        threads = sorted(thread.name for thread in threading.enumerate())
        return threads, len(list(Path("/proc/self/fd").iterdir()))

    start_and_stop()
    before = held()
    for _ in range(3):
        start_and_stop()
    assert held() == before


def test_a_late_answer_does_not_delay_the_stop(caplog):
    with Sandbox(**QUIET) as sandbox:
        sandbox.fault("marketplace", "late", delay_s=600)
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{sandbox.base_url}/marketplace", timeout=0.1)
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert not [record for record in caplog.records if record.exc_info]


@contextmanager
def forked(work):
    """Run some work in a fork of this process, which then stays; its exit status is asserted."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(there)
            work()
            os.read(here, 1)
            status = 0
        finally:
            os._exit(status)
    os.close(here)
    try:
        yield
    finally:
        os.close(there)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_fork_gets_the_control_address_and_stops_nothing():
    with Sandbox(**QUIET) as sandbox:

        def work():
            where = f"process {os.getppid()}.*{sandbox.control_url}"
            with pytest.raises(RuntimeError, match=where):
                sandbox.jump(1)
            sandbox.stop()
            assert httpx.get(f"{sandbox.base_url}/marketplace").status_code == 200

        with forked(work):
            pass
        assert httpx.get(f"{sandbox.base_url}/marketplace").status_code == 200


def test_a_fork_keeps_neither_the_port_nor_the_file(tmp_path):
    options = {**QUIET, "db": tmp_path / "market.db"}
    with Sandbox(**options) as sandbox, forked(lambda: None):
        port = sandbox.port
        sandbox.stop()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
        with Sandbox(**options, port=port) as again:
            assert again.api_key == sandbox.api_key


NEVER_STOPPED = """
import httpx, sys, time
from clore_sandbox import Sandbox
sandbox = Sandbox(limits=False, visibility_lag_s=0, boot_s=0).start()
client = httpx.Client(base_url=sandbox.base_url, headers={"auth": sandbox.api_key}, timeout=20)
for server in client.get("/marketplace").json()["servers"]:
    order = {"renting_server": server["id"], "image": "i", "type": "on-demand",
             "currency": "bitcoin", "ports": {}, "command": "echo $$ > pid; exec sleep 600"}
    if client.post("/create_order", json=order).json() == {"code": 0}:
        break
folder = sandbox._run.own_folder
while not (found := [p.read_text() for p in folder.rglob("pid") if p.read_text().strip()]):
    time.sleep(0.01)
print(found[0].strip(), folder)
raise LookupError("the script fails")
"""


def test_a_program_that_exits_without_stop_leaves_no_process_and_no_folder():
    done = subprocess.run(
        [sys.executable, "-c", NEVER_STOPPED],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr.strip().endswith("LookupError: the script fails")
    pid, folder = done.stdout.split()
    assert not Path("/proc", pid).exists()
    assert not Path(folder).exists()


def test_the_folder_beside_a_database_goes_with_its_last_room(tmp_path):
    with Sandbox(db=tmp_path / "market.db"):
        assert (tmp_path / "market.db.rooms").is_dir()
    assert not (tmp_path / "market.db.rooms").exists()


def damaged(folder):
    (folder / "market.db").write_bytes(b"no database" * 1000)
    return {"db": folder / "market.db"}


def foreign(folder):
    with closing(sqlite3.connect(folder / "market.db")) as database:
        database.execute("CREATE TABLE orders (number)")
        database.commit()
    return {"db": folder / "market.db"}


def inventory(record):
    def write(folder):
        (folder / "body.json").write_text(json.dumps({"servers": [record]}))
        return {"inventory": folder / "body.json"}

    return write


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        (damaged, OSError, "can't keep the state in .*market.db: file is not a database"),
        (foreign, RuntimeError, "market.db has tables of another program"),
        (lambda folder: {"db": folder}, OSError, "can't keep the state in .*: Is a directory"),
        (lambda folder: {"db": folder / "a" / "b"}, OSError, "can't keep .*: No such file"),
        (lambda _: {"db": "mysql://localhost/market"}, ValueError, "SQLite file, or postgresql://"),
        (lambda _: {"port": 65_536}, ValueError, "port must be 0 .any free port. to 65535"),
        (lambda _: {"host": "::1"}, OSError, "can't listen on ::1:0"),
        (lambda _: {"boot_s": float("inf")}, ValueError, "between 0 and a year"),
        (lambda _: {"visibility_lag_s": float("nan")}, ValueError, "between 0 and a year"),
        (lambda _: {"time_scale": 0}, ValueError, "time_scale must be above 0"),
        (lambda _: {"host_servers": -1}, ValueError, "host_servers must be 0 or more"),
        (lambda _: {"api_key": " key"}, ValueError, "a key must be printable ASCII"),
        (inventory({"id": 2**63}), ValueError, "the server id 9223372036854775808 is out of range"),
    ],
)
def test_a_failed_start_says_why_and_leaves_nothing(tmp_path, options, kind, words):
    threads = threading.active_count()
    with pytest.raises(kind, match=words):
        Sandbox(**{**QUIET, **options(tmp_path)}).start()
    assert threading.active_count() == threads


def test_a_port_in_use_is_named(tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"can't listen on 127.0.0.1:{port}: "):
            Sandbox(port=port, db=tmp_path / "market.db").start()


@pytest.mark.parametrize(
    "odd", [{"mrl": 10**15}, {"mrl": -1}, {"owner": 2**63 - 1}, {"owner": 2**63}]
)
def test_a_server_with_extreme_values_can_still_be_rented(tmp_path, odd):
    price = {"on_demand": {"bitcoin": 1e-05}}
    record = {"id": 1, "allowed_coins": ["bitcoin"], "price": price, **odd}
    with Sandbox(**QUIET, **inventory(record)(tmp_path)) as market:
        body = {"renting_server": 1, "image": "i", "type": "on-demand", "currency": "bitcoin"}
        answer = httpx.post(
            f"{market.base_url}/create_order", json=body, headers={"auth": market.api_key}
        )
        assert answer.json() == {"code": 0}
