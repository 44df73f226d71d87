"""The warnings of `python -m clore_sandbox` before it listens, and its errors if it cannot."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import served

from clore_sandbox import daemon

SECRET = "sEcret-of-the-database"


def fails(*options):
    """It does not start, and the last line says why; (status, that line)."""
    status, said = served.fails(*options)
    return status, said.splitlines()[-1]


@contextlib.contextmanager
def serve(*options):
    """The process, and its settings."""
    with served.start("--json", *options, stderr=subprocess.PIPE, text=True) as server:
        try:
            yield server, json.loads(server.stdout.readline())
        finally:
            server.terminate()


@pytest.mark.parametrize("host", ["0.0.0.0", "0", "::", "192.0.2.1"])
def test_listening_beyond_this_machine_is_warned_of(host):
    """The warning comes before it listens, longer without isolation; stdout has none of it."""
    taken = socket.create_server(("", 0))
    with taken:  # so that the warning appears and no port is opened
        status, said = served.fails("--host", host, "--port", taken.getsockname()[1])
    assert status == 1
    warning, why = said.splitlines()
    everybody = "other machines" if host == "192.0.2.1" else "every machine that can reach this one"
    assert f"--host {host} opens the API, /control and the orders' ports to {everybody}" in warning
    assert "can run any command as" in warning
    assert "--provisioner bwrap or docker" in warning
    assert f"can't listen on {host}:" in why


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2"])
def test_listening_on_this_machine_needs_no_warning(host):
    with serve("--host", host) as (server, _):
        server.terminate()
        assert (server.wait(15), server.stderr.read()) == (0, "")


def test_the_background_is_warned_too(tmp_path):
    """The log has the warning and `clore sandbox up --detach` prints it, but not with a failure."""
    running = daemon.start_detached(tmp_path, ["--host", "0.0.0.0", "--provisioner", "process"])
    try:
        assert (tmp_path / "sandbox.log").read_text().startswith("Warning: --host 0.0.0.0 opens")
    finally:
        daemon.stop(tmp_path)
    assert running.base_url.startswith("http://127.0.0.1:")
    with pytest.raises(RuntimeError) as failure:
        daemon.start_detached(tmp_path, ["--host", "0.0.0.0", "--db", "/nowhere/market.db"])
    assert str(failure.value).startswith("clore sandbox: can't keep the state in /nowhere")


def other_program(folder):
    with closing(sqlite3.connect(folder / "market.db")) as database:
        database.execute("CREATE TABLE bookmarks (url)")
        database.commit()
    return "has tables of another program (bookmarks)"


def newer(folder):
    with serve("--db", folder / "market.db") as (server, _):
        server.terminate()
        server.wait(15)
    with closing(sqlite3.connect(folder / "market.db")) as database:
        database.execute("INSERT INTO steps VALUES ('of next year')")
        database.commit()
    return "created by a newer version"


def damaged(folder):
    with serve("--db", folder / "market.db") as (server, _):
        server.terminate()
        server.wait(15)
    file = folder / "market.db"
    raw = bytearray(file.read_bytes())
    for page in range(1, len(raw) // 4096):  # not the first: it has the tables' names
        raw[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    file.write_bytes(raw)
    return "malformed"


def text(folder):
    (folder / "market.db").write_text("no database, but a text of some length" * 9)
    return "file is not a database"


def fifo(folder):
    os.mkfifo(folder / "market.db")
    return "not a regular file"


def loop(folder):
    (folder / "market.db").symlink_to("market.db")
    return "Too many levels of symbolic links"


@pytest.mark.parametrize(
    "make", [other_program, newer, damaged, text, fifo, loop], ids=lambda m: m.__name__
)
def test_a_file_that_cannot_keep_state_is_one_sentence(tmp_path, make):
    """The file is not changed: it may belong to another program."""
    said = make(tmp_path)
    file = tmp_path / "market.db"
    before = file.read_bytes() if file.is_file() else None
    status, why = fails("--db", file)
    assert status == 1
    assert said in why
    assert str(file) in why
    if before is not None:
        assert file.read_bytes() == before


def test_a_device_cannot_keep_state(tmp_path, monkeypatch):
    assert "not a regular file" in fails("--db", "/dev/null")[1]
    assert not Path("/dev/null.lock").exists()
    assert "Is a directory" in fails("--db", tmp_path)[1]
    monkeypatch.chdir(tmp_path)
    assert "Is a directory" in fails("--db", "")[1]


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("@127.0.0.1:1/market", "Connection refused"),
        ("@[::1", "its URL is invalid"),
        ("@127.0.0.1:port/market", "invalid integer value"),
        ("@127.0.0.1/market?colour=blue", "its URL is invalid"),
        ("%zz@127.0.0.1/market", "its URL is invalid"),
    ],
)
def test_an_unreachable_database_is_one_sentence(rest, said):
    """One line with the next step and without the password."""
    pytest.importorskip("psycopg")
    status, why = fails("--db", f"postgresql://me:{SECRET}{rest}")
    assert status == 1
    assert said in why
    assert "check --db" in why
    assert SECRET not in why


def test_a_missing_library_is_named():
    """There is no traceback: PostgreSQL's driver is an extra of its own."""
    code = "import sys; sys.modules['psycopg'] = None\nfrom clore_sandbox.serve import main\n"
    code += "sys.exit(main(['--db', 'postgresql://x']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "pip install '.[sandbox,postgres]'" in line


def test_a_schema_of_another_program_is_left_alone(postgres_db):
    import psycopg

    with psycopg.connect(postgres_db, autocommit=True) as database:
        database.execute("CREATE TABLE bookmarks (url text)")
        status, why = fails("--db", postgres_db)
        assert (status, "tables of another program (bookmarks)" in why) == (1, True)
        tables = database.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        ).fetchall()
    assert tables == [("bookmarks",)]
    assert "can't use the database" in fails("--db", f"{postgres_db}&user=nobody_here")[1]
    assert "can't use the database" in fails("--db", f"{postgres_db}&dbname=nothing_here")[1]


@pytest.mark.parametrize(
    ("host", "said"),
    [("::1", "only IPv4"), ("no such host", ""), ("\u00fc..b", ""), ("127.0.0.1:80", "only IPv4")],
)
def test_an_invalid_address_is_one_sentence(host, said):
    status, why = fails("--host", host)
    assert status == 1
    assert f"can't listen on {host}:0: {said}" in why
    assert fails("--host", "")[0] == 2


def test_secrets_are_private_to_the_user(tmp_path):
    """A database password is in no process list; files with keys are closed to others."""
    with pytest.raises(RuntimeError) as failure:
        daemon.start_detached(tmp_path / "a", ["--db", f"postgresql://me:{SECRET}@127.0.0.1:1/x"])
    assert SECRET not in str(failure.value)
    status, why = fails("--db", "postgresql://me:s@cReT@127.0.0.1:1/x")[:2]
    assert status in (1, 2)
    assert "cReT" not in why
    assert "%40" in why
    (tmp_path / "market.db").touch(mode=0o644)  # empty, so it can be used
    folder = tmp_path / "b"
    folder.mkdir(mode=0o755)
    (folder / "sandbox.log").write_text("")
    (folder / "sandbox.log").chmod(0o666)
    running = daemon.start_detached(folder, ["--db", str(tmp_path / "market.db")])
    try:
        assert "market.db" not in Path(f"/proc/{running.pid}/cmdline").read_text()
        for file in (*folder.iterdir(), tmp_path / "market.db"):
            assert file.stat().st_mode & 0o077 == 0, file
    finally:
        daemon.stop(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [("pid", "1"), ("base_url", 5), ("base_url", "http://[::1"), ("base_url", "http://h:99999/v1"),
     ("api_key", None), ("control_key", ["k"])],
)  # fmt: skip
def test_a_state_file_with_odd_fields_is_no_marketplace(tmp_path, market, field, value):
    fields = {"pid": os.getpid(), "base_url": market.base_url, "api_key": "k", "control_key": "c"}
    fields |= {"control_url": market.control_url, "instance": market.instance}
    (tmp_path / "sandbox.json").write_text(json.dumps(fields))
    assert daemon.find(tmp_path) is not None
    (tmp_path / "sandbox.json").write_text(json.dumps({**fields, field: value}))
    assert daemon.find(tmp_path) is None


def test_a_stop_cuts_delayed_answers_to_guessed_keys():
    """The log has no error of the cut connections."""
    with serve() as (server, place), contextlib.ExitStack() as stack:
        port = int(place["control_url"].split(":")[2].split("/")[0])
        guess = b"GET /control/clock HTTP/1.1\r\nHost: localhost\r\nauth: x\r\n\r\n"
        sockets = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 20))
            for _ in range(150)
        ]
        for sock in sockets:
            sock.sendall(guess)
        assert sockets[6].recv(12) == b"HTTP/1.1 401"
        server.send_signal(signal.SIGTERM)
        assert server.wait(15) == 0
        assert "xception" not in server.stderr.read()
