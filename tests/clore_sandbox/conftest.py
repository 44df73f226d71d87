"""A real marketplace, real HTTP and this machine's OpenSSH client: nothing is patched."""

import contextlib
import os
import subprocess
import time
import uuid
from pathlib import Path

import httpx
import own_postgres
import pytest
from served import ssh_answers
from shared import shared

from clore_sandbox import Sandbox

PASSWORD = "Secret123"
QUICK = {"visibility_lag_s": 0.05, "boot_s": 0.05, "limits": False}
ORDER = {"image": "cloreai/ubuntu22.04-cuda12", "type": "on-demand", "currency": "bitcoin"}


def wait_until(condition, timeout_s=60.0, every_s=0.01):
    """Wait for the first true value of the condition; the pause grows while it waits."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(every_s)
        every_s = min(every_s * 1.3, max(every_s, 0.1))
    return value


class Renter:
    """The client of one account."""

    def __init__(self, sandbox, key, folder):
        self.sandbox = sandbox
        self.folder = folder
        self.http = httpx.Client(base_url=sandbox.base_url, headers={"auth": key}, timeout=20)

    def free(self, coin="bitcoin"):
        servers = self.http.get("/marketplace").json()["servers"]
        return [
            s
            for s in servers
            if not s["rented"]
            and not s.get("gigaspot")
            and coin in s["allowed_coins"]
            and 0 < s["price"]["on_demand"].get(coin, 0) < {"bitcoin": 0.001}.get(coin, 1000)
        ]

    def post(self, endpoint, **body):
        return self.http.post(f"/{endpoint}", json=body)

    def create(self, server, **fields):
        return self.post("create_order", renting_server=server, **{**ORDER, **fields})

    def orders(self, **query):
        return self.http.get("/my_orders", params=query).json()["orders"]

    def rent(self, server=None, **fields):
        """Rent, wait until the order is deployed, and return its row."""
        if server is None:
            server = self.free()[0]["id"]
        fields.setdefault("ports", {"22": "tcp"})
        if "ssh_key" not in fields:
            fields.setdefault("ssh_password", PASSWORD)
        answer = self.create(server, **fields)
        assert answer.json() == {"code": 0}

        def deployed():
            rows = [o for o in self.orders() if o["si"] == server]
            return rows[0] if rows and rows[0]["mon_container"] == 2 else None

        order = wait_until(deployed)
        ssh = dict(pair.split(":") for pair in order["tcp_ports"]).get("22")
        if ssh:
            wait_until(lambda: ssh_answers(int(ssh)))
        return order

    def cancel(self, order):
        answer = self.post("cancel_order", id=order["id"])
        assert answer.json() == {"code": 0}

    def close(self):
        self.http.close()


class Shell:
    """This machine's OpenSSH tools, connected to an order; askpass supplies the password."""

    def __init__(self, order, folder, *options):
        ports = dict(pair.split(":") for pair in order["tcp_ports"])
        self.port = ports["22"]
        self.target = f"root@{order['pub_cluster'][0]}"
        askpass = folder / "askpass"
        askpass.write_text(f"#!/bin/sh\necho {PASSWORD}\n")
        askpass.chmod(0o700)
        self.env = {**os.environ, "SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force"}
        self.options = [
            *("-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"),
            *("-o", "UserKnownHostsFile=/dev/null", "-o", "NumberOfPasswordPrompts=1"),
            *("-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", *options),
        ]

    def argv(self, *words):
        return ["ssh", *self.options, "-p", self.port, self.target, *words]

    def run(self, *words, **kwargs):
        """Run one command over ssh; input and output are bytes."""
        kwargs.setdefault("stdin", None if "input" in kwargs else subprocess.DEVNULL)
        if "input" in kwargs:
            del kwargs["stdin"]
        return subprocess.run(
            self.argv(*words), env=self.env, capture_output=True, timeout=30, check=False, **kwargs
        )

    def tool(self, *words, **kwargs):
        """Run scp, sftp or rsync."""
        return subprocess.run(
            words, env=self.env, capture_output=True, timeout=30, check=False, **kwargs
        )


@pytest.fixture(scope="session")
def wait():
    return wait_until


@pytest.fixture(scope="module")
def quick():
    """The options of the tests' marketplaces."""
    return QUICK


@pytest.fixture(scope="module")
def market(quick):
    """One marketplace for the tests of a file that do not disturb each other."""
    with Sandbox(**quick) as sandbox:
        yield sandbox


@pytest.fixture
def own_market(quick):
    """Makes marketplaces for one test alone."""
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(Sandbox(**{**quick, **options}))


@pytest.fixture
def renter_of(tmp_path):
    """Makes clients of the first account, or of a new one with the given balances."""
    with contextlib.ExitStack() as stack:

        def make(sandbox, *, fresh=False, **balances):
            key = sandbox.create_account(balances or None) if fresh or balances else sandbox.api_key
            return stack.enter_context(contextlib.closing(Renter(sandbox, key, tmp_path)))

        yield make


@pytest.fixture
def renter(market, renter_of):
    """A new account with plenty of money in the marketplace of the file."""
    return renter_of(market, bitcoin=1, **{"CLORE-Blockchain": 1e6, "USD-Blockchain": 1e5})


@pytest.fixture
def rented(renter, tmp_path):
    """Rents and returns (order, shell); cancels at the end."""
    orders = []

    def rent(*, ssh=(), **fields):
        orders.append(renter.rent(**fields))
        return orders[-1], Shell(orders[-1], tmp_path, *ssh)

    yield rent
    for order in orders:
        renter.post("cancel_order", id=order["id"])


@pytest.fixture(scope="module")
def room_options():
    """The fields of the order of `shell`."""
    return {}


@pytest.fixture(scope="module")
def shell(market, room_options, tmp_path_factory):
    """A machine for the tests of a file that do not disturb each other."""
    folder = tmp_path_factory.mktemp("shell")
    key = market.create_account({"bitcoin": 1})
    with contextlib.closing(Renter(market, key, folder)) as renter:
        order = renter.rent(**room_options)
        yield Shell(order, folder)
        renter.cancel(order)


@pytest.fixture
def shell_of(tmp_path):
    return lambda order, *options: Shell(order, tmp_path, *options)


@pytest.fixture(scope="session")
def postgres_server():
    """The URL of a PostgreSQL server for this test run alone; a test has a schema of its own."""

    def start(folder):
        own_postgres.start(folder, "max_connections=200")

    with contextlib.ExitStack() as stack:
        try:
            yield own_postgres.url(
                stack.enter_context(shared("postgres", start, own_postgres.stop))
            )
        except own_postgres.NotInstalled as exc:
            if os.environ.get("NEED_POSTGRES"):
                raise
            pytest.skip(str(exc))


@pytest.fixture(scope="session")
def new_schema(postgres_server):
    """Makes URLs of empty databases; each is a schema, which takes a millisecond.

    Connections to one have its name.
    """
    import psycopg

    def make():
        name = f"market_{uuid.uuid4().hex}"
        with psycopg.connect(postgres_server, autocommit=True) as admin:
            admin.execute(f"CREATE SCHEMA {name}")
        return f"{postgres_server}&application_name={name}&options=-csearch_path%3D{name}"

    return make


@pytest.fixture
def postgres_db(new_schema):
    """The URL of an empty PostgreSQL database."""
    return new_schema()


def _database(request):
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_db")
    return request.getfixturevalue("tmp_path") / "market.db" if request.param == "sqlite" else None


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def db(request):
    """The place of the books: each kind of database in turn."""
    return _database(request)


@pytest.fixture(params=["sqlite", "postgresql"])
def kept_db(request):
    """The databases that keep the books after the marketplace has ended."""
    return _database(request)


@pytest.fixture(scope="session")
def captured():
    """The real marketplace body of 2024-05-21."""
    named = os.environ.get("CLORE_INVENTORY")
    found = [Path(named)] if named else []
    root = Path(__file__).parents[2]
    found += sorted((root.parent / "shared" / "data").glob("*.json"))
    for path in found:
        if path.exists():
            return path
    pytest.skip("the captured marketplace body is not available (CLORE_INVENTORY)")
